// The page with the drop zone and the form.
import { run, assert, axe, everyLook, shot, api, job } from './lib.mjs'

const upload = async (name, text = 'content') =>
  (await (await api('POST', `/api/v1/uploads?filename=${encodeURIComponent(name)}`, text)).json()).token

await run({
  async 'what waits is submitted without a new page'(open) {
    await upload('one.txt')
    await upload('two.txt')
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.evaluate(() => { window.still = true })
    assert.equal(await page.textContent('#submit [data-count]'), 'Submit 2 files')
    await page.uncheck('li:has-text("one") input[name=token]', { force: true })
    assert.equal(await page.textContent('#submit [data-count]'), 'Submit 1 file')
    await page.fill('#folder', 'reports')
    await page.fill('#description', 'The second')
    await page.fill('#tags', 'a, b')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts .toast')
    assert.match(await page.textContent('#toasts'), /Saved 1 file to local\/reports\./)
    assert.ok(await page.evaluate(() => window.still), 'the page was loaded anew')
    const { files } = await (await api('GET', '/api/v1/files?prefix=reports/')).json()
    assert.deepEqual(files.map((f) => [f.path, f.tags, f.metadata.description]), [['reports/two.txt', ['a', 'b'], 'The second']])
    assert.equal(await page.locator('#waiting-list > li').count(), 1)
  },

  async 'a name that is taken is asked about, and nothing is lost'(open) {
    await api('PUT', '/files/me/taken/three.txt', 'old')
    await upload('three.txt', 'new')
    const { page } = await open({ allow: [/409/] })
    await page.goto(job.base + '/')
    await page.fill('#folder', 'taken')
    await page.fill('#description', 'kept words')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#submit .note')
    assert.match(await page.textContent('#submit .note'), /1 name is already taken in taken.*three\.txt/s)
    assert.equal(await page.inputValue('#description'), 'kept words')
    await axe(page, 'a taken name')
    await page.click('button:has-text("Keep both") >> nth=0')
    await page.waitForSelector('#toasts .toast')
    const { files } = await (await api('GET', '/api/v1/files?prefix=taken/')).json()
    assert.deepEqual(files.map((f) => f.name).sort(), ['one.txt', 'three (1).txt', 'three.txt'])
  },

  async 'a refused form shows why on a small screen'(open) {
    await upload('three.txt', 'newest')
    const { page } = await open({ width: 360, height: 740, allow: [/409/] })
    await page.goto(job.base + '/')
    await page.fill('#folder', 'taken')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#submit .note')
    await page.waitForFunction(() => {
      const { top, bottom } = document.querySelector('#submit .note').getBoundingClientRect()
      return top >= 0 && bottom <= innerHeight
    })
    await api('POST', '/api/v1/persist', JSON.stringify({
      tokens: await page.locator('input[name=token]').evaluateAll((boxes) => boxes.map((box) => box.value)), on_conflict: 'rename',
    }), { 'content-type': 'application/json' })
  },

  async 'a taken name has a picture'(open) {
    await upload('three.txt', 'newer')
    const { page } = await open({ allow: [/409/] })
    await page.goto(job.base + '/')
    await page.fill('#folder', 'taken')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#submit .note')
    await shot(page, 'home-taken')
    await api('POST', '/api/v1/persist', JSON.stringify({
      tokens: await page.locator('input[name=token]').evaluateAll((boxes) => boxes.map((box) => box.value)), on_conflict: 'rename',
    }), { 'content-type': 'application/json' })
  },

  async 'a folder that cannot be keeps the tokens in the form'(open) {
    const token = await upload('four.txt')
    const { page } = await open({ allow: [/400/] })
    await page.goto(job.base + '/')
    await page.fill('#folder', 'a/../b')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#folder-wrong')
    assert.ok(await page.isChecked(`input[value="${token}"]`))
    assert.equal(await page.inputValue('#folder'), 'a/../b')
    await page.waitForFunction(() => document.activeElement.id === 'folder')
    await axe(page, 'a wrong folder')
    assert.equal(page.url(), job.base + '/') // where a reload finds a page
    await page.click(`li[data-token="${token}"] .acts button`)
    await page.waitForSelector(`li[data-token="${token}"]`, { state: 'detached' })
  },

  async 'a discard can be taken back, and leaves the form alone'(open) {
    const token = await upload('five.txt')
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.fill('#description', 'typed')
    const gone = page.waitForSelector(`li[data-token="${token}"]`, { state: 'detached' })
    await page.click(`#d-${token}`)
    await gone
    await page.click('#toasts .toast:has-text("Discarded 1 file.") [data-undo]')
    await page.waitForSelector(`li[data-token="${token}"]`)
    await page.waitForSelector('#toasts .toast:has-text("1 file is back.")')
    await page.click('button:has-text("Discard all")')
    await page.waitForSelector('li[data-token]', { state: 'detached' })
    await page.keyboard.press('Control+z')
    await page.waitForSelector(`li[data-token="${token}"]`)
    assert.equal(await page.inputValue('#description'), 'typed')
  },

  async 'without an answer one is told, and can try again'(open) {
    const token = await upload('six.txt')
    const { page, context } = await open({ allow: [/ERR_INTERNET_DISCONNECTED|502|htmx:/] })
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.fill('#description', 'typed')
    await page.click(`#d-${token}`)
    const undo = page.locator('#toasts [data-undo]')
    await undo.waitFor()
    await context.setOffline(true)
    await undo.click()
    await page.waitForSelector('#toasts .toast:has-text("No answer from the server.")')
    await context.setOffline(false)
    await undo.click()
    await page.waitForSelector(`li[data-token="${token}"]`)
    await page.route('**/submit', (route) => route.fulfill({ status: 502, body: '<main id="main">a proxy</main>' }))
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts .toast:has-text("The server is in trouble.")')
    assert.equal(await page.inputValue('#description'), 'typed')
    await axe(page, 'no answer')
  },

  async 'a form that is sent after the session ended keeps what was typed'(open) {
    await upload('seven.txt')
    const { page, context } = await open({ allow: [/401/] })
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.fill('#folder', 'typed')
    await page.fill('#description', 'typed')
    await context.clearCookies()
    await page.click('#submit [data-count]')
    await page.waitForSelector('dialog[open]:has-text("You have been signed out")')
    await page.click('dialog [data-close]')
    assert.equal(await page.inputValue('#description'), 'typed')
    await page.click('[data-nav=keys]')
    await page.waitForSelector('dialog[open]')
    assert.equal(await page.inputValue('#folder'), 'typed')
    assert.equal(page.url(), job.base + '/')
  },

  async 'a file that finishes takes nobody the focus'(open) {
    const token = await upload('nine.txt')
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.focus(`#c-${token}`)
    const next = await upload('ten.txt')
    await page.evaluate(() => document.body.dispatchEvent(new CustomEvent('upload:ready', { bubbles: true })))
    await page.waitForSelector(`#c-${next}`)
    await page.waitForFunction((id) => document.activeElement.id === id, `c-${token}`)
  },

  async 'what runs out says so, and is not submitted'(open) {
    const token = await upload('eleven.txt')
    const { page } = await open({ allow: [/ERR_FAILED/] })
    await page.clock.install()
    await page.route('**/touch', (route) => route.abort()) // which would make it last longer
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    const row = `li[data-token="${token}"]`
    assert.match(await page.textContent(row), /Expires in 2[34] h/)
    await page.clock.fastForward('23:30:00')
    await page.waitForSelector(`${row} .chip-w:has-text("min")`)
    await page.clock.fastForward('01:00:00')
    await page.waitForSelector(`${row} .chip-b:has-text("Expired. Add the file again.")`)
    assert.ok(await page.isDisabled(`#c-${token}`))
  },

  async 'a description that is too long is told before it is sent'(open) {
    await upload('twelve.txt')
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.fill('#description', 'я'.repeat(600))
    await page.click('#submit [data-count]')
    assert.match(await page.evaluate(() => document.querySelector('#description').validationMessage), /too long/)
    await page.fill('#description', 'я'.repeat(500))
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts .toast:has-text("Saved")')
  },

  async 'everything works without scripts'(open) {
    const { page } = await open({ javaScript: false })
    await page.goto(job.base + '/')
    await page.setInputFiles('#file', { name: 'plain.txt', mimeType: 'text/plain', buffer: Buffer.from('plain') })
    await page.click('noscript button, button:has-text("Upload")')
    await page.waitForSelector('#waiting-list li:has-text("plain")')
    await page.fill('#folder', 'plain')
    await page.click('#submit [data-count]')
    await page.waitForSelector('.toast:has-text("Saved")')
    await page.setInputFiles('#file', { name: 'away.txt', mimeType: 'text/plain', buffer: Buffer.from('away') })
    await page.click('noscript button, button:has-text("Upload")')
    await page.click('li:has-text("away") .acts button')
    await page.waitForSelector('.toast:has-text("Discarded")')
    assert.equal(await page.locator('li[data-token]:has-text("away")').count(), 0)
  },

  async 'the theme is kept'(open) {
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.click('[data-theme-form] button')
    await page.reload()
    assert.equal(await page.getAttribute('html', 'data-theme'), 'light')
  },

  async 'it looks right, and everybody can use it'(open) {
    await upload('a-file-with-a-very-long-name-that-goes-on-and-on-and-would-not-fit-anywhere.tar.gz')
    const { page } = await open()
    await everyLook(page, 'home', { at: job.base + '/' })
  },
})
