// Keys, sessions, and the pages of the operator. Uploads of this server are
// due after a second.
import { run, assert, axe, everyLook, shot, api, job } from './lib.mjs'

const said = (page, text) => page.waitForSelector(`#toasts .toast:has-text("${text}")`)

await run({
  async 'a key is shown once, and revoked'(open) {
    const { page } = await open()
    await page.goto(job.base + '/keys')
    await page.fill('#name', 'ci <b>')
    await page.check('input[value=delete]')
    await page.click('button:has-text("Make a key")')
    const secret = await page.inputValue('#secret')
    assert.match(secret, /^ups_/)
    await page.waitForFunction(() => document.activeElement.id === 'h-made')
    await axe(page, 'a new key')
    await shot(page, 'keys-new')
    const me = await fetch(job.base + '/api/v1/me', { headers: { authorization: `Bearer ${secret}` } })
    assert.deepEqual((await me.json()).scopes, ['delete', 'read', 'write'])
    await page.click('text=I have stored it')
    await page.waitForSelector('#secret', { state: 'detached' })
    const before = await page.locator('[aria-labelledby=h-keys] li').count()
    await page.click('li:has-text("ci <b>") button')
    await page.waitForSelector('dialog[open]')
    await page.click('dialog .btn-d')
    await said(page, 'Revoked.')
    assert.equal(await page.locator('[aria-labelledby=h-keys] li').count(), before - 1)
    assert.equal((await fetch(job.base + '/api/v1/me', { headers: { authorization: `Bearer ${secret}` } })).status, 401)
  },

  async 'what is wrong is said in the form'(open) {
    const { page } = await open({ allow: [/400/] })
    await page.goto(job.base + '/keys')
    await page.fill('#name', 'kept')
    for (const scope of ['read', 'write']) await page.uncheck(`input[value=${scope}]`)
    await page.click('button:has-text("Make a key")')
    await page.waitForSelector('.note:has-text("Choose what the key may do.")')
    assert.equal(await page.inputValue('#name'), 'kept')
  },

  async 'a cleanup is looked at, then done'(open) {
    for (const name of ['a.txt', 'b.txt']) await api('POST', `/api/v1/uploads?filename=${name}`, 'x'.repeat(1000))
    const { page } = await open()
    await page.goto(job.base + '/admin')
    for (let i = 0; i < 100; i++) {
      await page.click('button:has-text("Show what would be removed")')
      await page.waitForSelector('#cleanup [role=status]')
      if (/[2-9] items/.test(await page.textContent('#cleanup [role=status]'))) break
    }
    assert.match(await page.textContent('#cleanup [role=status]'), /4 items, 2.kB would be removed/)
    await page.click('#cleanup summary >> nth=0')
    await page.waitForSelector('#cleanup td:has-text("a.txt")')
    await axe(page, 'a preview')
    await page.click('#cleanup .btn-d')
    await said(page, 'Removed')
    await page.click('button:has-text("Show what would be removed")')
    await page.waitForSelector('#cleanup [role=status]:has-text("Nothing to remove.")')
    await page.click('a[href="/admin/owners/local"]')
    await page.waitForSelector('h1:has-text("local")')
    await axe(page, 'an account')
    await page.goto(job.base + '/admin?q=nobody')
    await page.waitForSelector('text=No account is called like that.')
    await page.fill('input[name=q]', 'loc')
    await page.keyboard.press('Enter')
    await page.waitForURL(/q=loc/)
    await page.waitForSelector('a[href="/admin/owners/local"]')
  },

  async 'it works without scripts'(open) {
    const { page } = await open({ javaScript: false })
    await page.goto(job.base + '/keys')
    await page.fill('#name', 'plain')
    await page.click('button:has-text("Make a key")')
    assert.match(await page.inputValue('#secret'), /^ups_/)
    await page.goto(job.base + '/keys')
    await page.click('li:has-text("plain") button')
    await page.waitForSelector('.toast:has-text("Revoked.")')
    await page.goto(job.base + '/admin')
    await page.click('button:has-text("Show what would be removed")')
    await page.waitForSelector('#cleanup [role=status]')
  },

  async 'they look right, and everybody can use them'(open) {
    const { page } = await open()
    for (const [name, path] of Object.entries({
      keys: '/keys', admin: '/admin', settings: '/admin/settings', owner: '/admin/owners/local',
    })) await everyLook(page, name, { at: job.base + path })
  },

  async 'signed out everywhere is signed out here'(open) {
    const { page } = await open({ allow: [/401/] })
    await page.goto(job.base + '/keys')
    await page.click('button:has-text("Sign out everywhere")')
    await page.click('dialog .btn-d')
    await page.waitForSelector('a:has-text("Sign in"), button:has-text("Sign in")')
    await page.goto(job.base + '/keys')
    assert.notEqual(await page.textContent('h1'), 'Keys and sessions')
  },
})
