// Several tabs, sessions that end and other accounts in the same browser: what
// one tab does holds for all, and what is on its way or typed is not lost.
import { run, assert, axe, file, job } from './lib.mjs'

const MB = 1_000_000
const { github } = job
const row = (name) => `#queue > li:has([title="${name}"])`
const waits = (page, name) => page.waitForSelector(`#waiting-list > li:has([title="${name}"])`, { timeout: 60_000 })
const small = (name) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(name) })
const as = (page, who) => page.click(`a:text-is("Continue as ${who}")`)
const stranger = (open) => open({ signedIn: false, allow: [/40[14]/] })

async function signIn(page, who) {
  await page.goto(github + '/login')
  await as(page, who)
  await page.waitForSelector('#drop')
  await page.waitForLoadState('networkidle')
}

// again signs in through the dialog, in the tab that it opens.
async function again(page, who) {
  const popup = page.context().waitForEvent('page')
  await page.click('dialog a')
  const tab = await popup
  const closed = tab.waitForEvent('close')
  await as(tab, who)
  await closed
}

// uploading starts an upload that is slow enough to act in between, and waits
// until some of it is under way: before, there is nothing to go on with.
async function uploading(page, name) {
  const cdp = await page.context().newCDPSession(page)
  await cdp.send('Network.emulateNetworkConditions', {
    offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 10 * MB,
  })
  await page.setInputFiles('#file', file(name, Buffer.alloc(70 * MB, 1)))
  await page.waitForFunction((row) => document.querySelector(`${row} progress[value]`)?.value > 5, row(name))
}

const files = (page) => page.evaluate(async () => (await (await fetch('/api/v1/files')).json()).files.map((f) => f.path))
const uploads = (page) => page.evaluate(async () => (await (await fetch('/api/v1/uploads')).json()).uploads.length)

await run({
  async 'a session that is ended elsewhere loses neither bytes nor words'(open) {
    const { page } = await stranger(open)
    const { page: phone } = await stranger(open)
    await signIn(page, 'alice')
    await page.evaluate(() => { window.still = true })
    await page.setInputFiles('#file', small('small.txt'))
    await waits(page, 'small.txt')
    await page.fill('#description', 'Typed before')
    await signIn(phone, 'alice')
    await uploading(page, 'large.bin')
    await phone.evaluate(() => fetch('/sessions/end', { method: 'POST' }))
    await page.waitForSelector('dialog[open]')
    await axe(page, 'a session that ended')
    assert.equal(await page.getAttribute(row('large.bin'), 'data-state'), 'blocked')
    const first = page.waitForRequest((request) => request.method() === 'PATCH')
    await again(page, 'alice')
    await page.waitForSelector('#toasts :text("You are signed in again.")')
    assert.ok(Number((await first).headers()['upload-offset']) > 0, 'it began anew')
    await waits(page, 'large.bin')
    // The form is sent without a session: it stays, and can be sent again.
    await signIn(phone, 'alice')
    await phone.evaluate(() => fetch('/sessions/end', { method: 'POST' }))
    await page.click('#submit [data-count]')
    await page.waitForSelector('dialog[open]')
    await again(page, 'alice')
    await page.waitForSelector('dialog[open]', { state: 'detached' })
    assert.equal(await page.inputValue('#description'), 'Typed before')
    assert.ok(await page.evaluate(() => window.still), 'the page was loaded anew')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts :text("Saved 2 files")')
    assert.deepEqual(await files(page), ['large.bin', 'small.txt'])
  },

  async 'another account stops what is on its way'(open) {
    const { page, context } = await stranger(open)
    await signIn(page, 'alice')
    await uploading(page, 'mine.bin')
    const other = await context.newPage()
    await other.goto(github + '/')
    await other.click('.me')
    await other.click('#account >> text=Sign out')
    await other.waitForSelector('h1:has-text("Files land safely.")')
    await page.waitForSelector('dialog[open] :text("You have been signed out")')
    await signIn(other, 'root')
    await page.waitForSelector('#toasts :text("You are now signed in as root. Uploads of alice were stopped.")')
    await page.waitForSelector('.me:has-text("root")')
    await axe(page, 'another account')
    assert.equal(await page.locator('#queue > li').count(), 0)
    assert.equal(await uploads(page), 0, "alice's upload went on as root's")
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', small('of-root.txt'))
    await waits(page, 'of-root.txt')
    await signIn(other, 'alice')
    await page.waitForSelector('#toasts :text("You are now signed in as alice.")')
    await page.waitForSelector(`${row('mine.bin')}[data-state=needs-file]`)
    assert.equal(await page.locator('#waiting-list :text("of-root")').count(), 0)
  },

  async 'a page that missed the change acts for nobody else'(open) {
    const { page, context } = await stranger(open)
    await signIn(page, 'alice')
    const before = await context.cookies()
    const other = await context.newPage()
    await signIn(other, 'root')
    await page.waitForSelector('.me:has-text("root")')
    await page.waitForLoadState('networkidle')
    await context.addCookies(before) // without a page that tells
    await page.setInputFiles('#file', small('whose.txt'))
    await page.waitForSelector('dialog[open]')
    assert.equal(await page.getAttribute(row('whose.txt'), 'data-state'), 'blocked')
  },

  async 'what is done in one tab is seen in the other'(open) {
    const { page, context } = await stranger(open)
    await signIn(page, 'alice')
    const other = await context.newPage()
    await other.addInitScript(() => { window.requestIdleCallback = () => {} }) // it is too busy to load the queue
    await other.goto(github + '/')
    const names = ['submitted.txt', 'discarded.txt', 'kept.txt'].map((name) => `both-${name}`)
    await page.setInputFiles('#file', names.map(small))
    for (const name of names) await waits(other, name)
    await other.fill('#description', 'typed in the other')
    await page.click(`#waiting-list > li:has([title="${names[1]}"]) .acts button`)
    await other.waitForSelector(`#waiting-list > li:has([title="${names[1]}"])`, { state: 'detached' })
    await page.uncheck(`#waiting-list > li:has([title="${names[2]}"]) input`, { force: true })
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts :text("Saved 1 file")')
    await other.waitForSelector(`#waiting-list > li:has([title="${names[0]}"])`, { state: 'detached' })
    await other.waitForSelector('#submit [data-count]:text-is("Submit 1 file")')
    assert.equal(await other.inputValue('#description'), 'typed in the other')
    await other.click('#submit [data-count]')
    await other.waitForSelector('#toasts :text("Saved 1 file")')
  },

  async 'a tab that is behind is told the truth'(open) {
    const { page, context } = await open({ signedIn: false, allow: [/401|409|410|ERR_/] })
    await signIn(page, 'alice')
    const names = ['submitted.txt', 'discarded.txt', 'kept.txt'].map((name) => `late-${name}`)
    await page.setInputFiles('#file', names.map(small))
    for (const name of names) await waits(page, name)
    const behind = await context.newPage()
    await behind.addInitScript(() => { window.BroadcastChannel = class extends EventTarget { postMessage() {} } })
    await behind.goto(github + '/')
    await behind.waitForLoadState('networkidle')
    for (const name of names) await waits(behind, name)
    await page.click(`#waiting-list > li:has([title="${names[1]}"]) .acts button`)
    await page.waitForSelector(`#waiting-list > li:has([title="${names[1]}"])`, { state: 'detached' })
    await page.uncheck(`#waiting-list > li:has([title="${names[2]}"]) input`, { force: true })
    await page.fill('#folder', 'first')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts :text("Saved 1 file")')

    await behind.fill('#description', 'of the second')
    await behind.click('#submit [data-count]')
    await behind.waitForSelector('#submit .note')
    assert.match(await behind.textContent('#submit'), /1 file was submitted before, from another window/)
    await axe(behind, 'a tab that is behind')
    assert.equal(await behind.inputValue('#description'), 'of the second')
    await behind.click('#submit [data-count]')
    await behind.waitForSelector('#toasts :text("Saved 1 file")')
    assert.deepEqual((await files(page)).filter((name) => name.includes('late-')), ['first/late-submitted.txt', 'late-kept.txt'])
  },
})
