// The pages of strangers: with GitHub (a stand-in asks who one is), with the
// one-time code of local mode, and after everything that can go wrong.
import { run, assert, axe, narrow, everyLook, shot, tabTo, job } from './lib.mjs'

const { github, down, fresh } = job
const stranger = (open) => (options) => open({ signedIn: false, allow: [/40[0-9]|503/], ...options })
const as = (page, who) => page.click(`a:text-is("${who === 'Cancel' ? who : `Continue as ${who}`}")`)

await run({
  async 'one signs in with GitHub and comes to where one was'(open) {
    const { page, context } = await stranger(open)()
    await page.goto(github + '/files/me/')
    assert.match(await page.textContent('.sign'), /Sign in to continue\./)
    await page.click('text=Sign in with GitHub')
    await as(page, 'alice')
    await page.waitForURL(github + '/files/me/')
    assert.match(await page.textContent('header'), /alice/)
    const cookies = await context.cookies()
    assert.deepEqual(cookies.map((c) => [c.name, c.httpOnly, c.sameSite]), [['upload_session', true, 'Lax']])

    await page.click('.me')
    await page.click('#account >> text=Sign out')
    await page.waitForSelector('h1:has-text("Files land safely.")')
    assert.deepEqual(await context.cookies(), [])
  },

  async 'who may not enter is told, and can be somebody else'(open) {
    const { page } = await stranger(open)()
    await page.goto(github + '/')
    await page.click('text=Sign in with GitHub')
    await as(page, 'bob')
    await page.waitForSelector('h1:has-text("“bob” is not allowed here")')
    await axe(page, 'denied')
    await page.click('text=Use another account')
    await as(page, 'Cancel')
    await page.waitForSelector('text=You did not let GitHub tell us who you are')
    await axe(page, 'cancelled')
    await page.click('text=Sign in with GitHub')
    await as(page, 'alice')
    await page.waitForURL(github + '/')
    await page.waitForSelector('#drop')
  },

  async 'without cookies one is told to allow them'(open) {
    const { page, context } = await stranger(open)()
    await page.goto(github + '/login')
    await context.clearCookies()
    await as(page, 'alice')
    await page.waitForSelector('text=Allow cookies for this site')
  },

  async 'it works without scripts and by keyboard'(open) {
    const { page } = await stranger(open)({ javaScript: false })
    await page.goto(github + '/')
    await tabTo(page, '.sign .btn-k')
    await page.keyboard.press('Enter')
    await as(page, 'alice')
    await page.waitForSelector('text=Upload files')
    await page.goto(github + '/signed-in')
    assert.equal(await page.textContent('h1'), 'You are signed in as alice')
  },

  async 'a session that ended goes on from another tab'(open) {
    const { page, context } = await stranger(open)()
    const signInAs = async (who) => {
      const popup = context.waitForEvent('page')
      await page.click('dialog a')
      const closed = (await popup).waitForEvent('close')
      await as(await popup, who)
      await closed
    }
    const end = async () => {
      await context.clearCookies()
      await page.evaluate(() => document.body.dispatchEvent(new CustomEvent('session-expired', { bubbles: true })))
    }
    await page.goto(github + '/login')
    await as(page, 'alice')
    await page.waitForSelector('#drop')
    await page.evaluate(() => { window.still = true })
    await end()
    await axe(page, 'session ended')
    await signInAs('alice')
    await page.waitForSelector('#toasts >> text=You are signed in again.')
    assert.ok(await page.evaluate(() => window.still), 'the page was loaded anew')
    await end()
    await signInAs('root')
    await page.waitForSelector('.me:has-text("root")')
  },

  async 'only an operator sees the files of another'(open) {
    const { page: alice } = await stranger(open)()
    await alice.goto(github + '/login')
    await as(alice, 'alice')
    await alice.waitForSelector('#drop')
    await alice.evaluate(async () => {
      for (const name of ['report.txt', 'drafts/one.txt']) await fetch(`/files/me/${name}`, { method: 'PUT', body: 'figures' })
    })
    assert.equal((await alice.goto(github + '/admin')).status(), 403)
    assert.match(await alice.textContent('main'), /You cannot do that\s*Your account has no permission for this\./)
    assert.match(await alice.textContent('header'), /alice/)
    await everyLook(alice, 'forbidden')
    assert.equal((await alice.goto(github + '/files/root/')).status(), 404)

    const { page } = await stranger(open)()
    await page.goto(github + '/login')
    await as(page, 'root')
    await page.waitForSelector('#drop')
    await page.goto(github + '/files/alice/')
    await page.waitForSelector('h1:has-text("alice")')
    await everyLook(page, 'files-of-another')
    await page.click('#rows a:has-text("report.txt")')
    await page.waitForSelector('#details pre:has-text("figures")')
    await everyLook(page, 'file-of-another')
    assert.equal(await page.locator('main :is([name=only], [name=id], [name=to], .change)').count(), 0, 'it can be changed')
  },

  async 'a one-time code signs in once'(open) {
    const { page } = await stranger(open)()
    await page.goto(job.base + '/files/me/')
    await page.fill('#code', 'wrong')
    await page.keyboard.press('Enter')
    await page.waitForSelector('text=This sign-in link was used')
    await axe(page, 'a wrong code')
    await narrow(page)
    await page.goto(fresh)
    await axe(page, 'a one-time link')
    await shot(page, 'signin-link')
    await page.click('text=Sign in on this browser')
    await page.waitForSelector('#drop')
    assert.equal((await page.goto(fresh)).status(), 401)
  },

  async 'they look right, and everybody can use them'(open) {
    const { page } = await stranger(open)()
    await everyLook(page, 'land', { at: github + '/' })
    for (const scheme of ['light', 'dark']) {
      const { page } = await stranger(open)({ scheme, width: 800 })
      const look = async (name) => {
        await axe(page, `${name} ${scheme}`, [scheme])
        await shot(page, `${name}-800-${scheme}`)
      }
      await page.goto(job.base + '/')
      await look('land-local')
      await page.goto(down + '/login')
      await as(page, 'alice')
      await page.waitForSelector('text=GitHub does not answer. Try again in a minute.')
      await look('signin-down')
      await page.goto(github + '/login')
      await as(page, 'bob')
      await look('signin-denied')
      await page.goto(github + '/login?next=/signed-in')
      await as(page, 'alice')
      await page.waitForURL(github + '/signed-in')
      await look('signed-in')
      await page.goto(github + '/login')
      await page.evaluate((there) => { location.href = there }, github + '/logout') // another site sends here
      await page.waitForSelector('text=Sign out?')
      await look('signout')
    }
  },
})
