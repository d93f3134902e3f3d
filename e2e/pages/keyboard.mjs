// What a person does, by keyboard alone: nothing is clicked, and nothing gets
// the focus but by Tab and by the page itself. The focus is never lost.
import { run, assert, tabTo, focusOn, api, file, job } from './lib.mjs'

const said = (page, text) => page.waitForSelector(`#toasts .toast:has-text("${text}")`)
const kept = async (page, after) =>
  assert.ok(await page.evaluate(() => document.activeElement !== document.body), `the focus is lost after ${after}`)
const paths = async (prefix) => (await (await api('GET', `/api/v1/files?prefix=${prefix}`)).json()).files.map((f) => f.path)

// choose picks a file in the dialog of the browser that a key opens.
async function choose(page, key, path) {
  const chooser = page.waitForEvent('filechooser')
  await page.keyboard.press(key)
  await (await chooser).setFiles(path)
}

// enter goes to a link or button by Tab, and presses it.
async function enter(page, selector) {
  await tabTo(page, selector)
  await page.keyboard.press('Enter')
}

await run({
  async 'upload, pause, submit, and a name that is taken'(open) {
    await api('PUT', '/files/me/typed/taken.bin', 'old')
    const { page, context } = await open({ allow: [/409/] })
    const cdp = await context.newCDPSession(page)
    await cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 15e6 })
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await tabTo(page, '#file')
    await choose(page, 'Enter', file('taken.bin', Buffer.alloc(40e6, 1)))
    await page.waitForSelector('#queue > li[data-state=uploading]')
    await enter(page, '#queue [data-act=pause]')
    await focusOn(page, '#queue [data-act=resume]')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#waiting-list [title="taken.bin"]', { timeout: 60_000 })
    await tabTo(page, '#folder')
    await page.keyboard.type('typed')
    await page.keyboard.press('Control+Enter')
    await page.waitForSelector('#submit .note')
    await kept(page, 'a name that is taken')
    await enter(page, '#submit .note button')
    await said(page, 'Saved 1 file')
    await kept(page, 'a submit')
    assert.deepEqual(await paths('typed/'), ['typed/taken (1).bin', 'typed/taken.bin'])
  },

  async 'rename, move, delete and undo'(open) {
    for (const name of ['a', 'b', 'c']) await api('PUT', `/files/me/hands/${name}.txt`, 'x')
    const { page } = await open()
    await page.goto(job.base + '/files/local/hands/')
    await tabTo(page, 'tr:has([title="a.txt"]) a.row')
    await page.keyboard.press('F2')
    await focusOn(page, '#name')
    await page.keyboard.type('renamed') // the stem is selected
    await page.keyboard.press('Enter')
    await said(page, 'Saved.')
    await kept(page, 'a rename')
    assert.deepEqual(await paths('hands/'), ['hands/b.txt', 'hands/c.txt', 'hands/renamed.txt'])
    await tabTo(page, 'tr:has([title="b.txt"]) .ck')
    await page.keyboard.press('Space')
    await tabTo(page, '.selbar [name=to]')
    await page.keyboard.type('hands/deep')
    await page.keyboard.press('Enter')
    await said(page, 'Moved 1 file')
    await kept(page, 'a move')
    assert.deepEqual(await paths('hands/deep/'), ['hands/deep/b.txt'])
    await tabTo(page, 'tr:has([title="c.txt"]) a.row')
    await page.keyboard.press('Delete')
    await said(page, 'Deleted 1 file.')
    await kept(page, 'a delete')
    await enter(page, '.toast:has([action^="/actions/restore"]):last-child [data-undo]')
    await said(page, '1 file is back.')
    await kept(page, 'an undo')
    await enter(page, 'tr:has([title="deep"]) [data-confirm]')
    await focusOn(page, 'dialog button')
    await page.keyboard.press('Escape')
    await focusOn(page, 'tr:has([title="deep"]) [data-confirm]')
    await page.keyboard.press('Enter')
    await enter(page, 'dialog .btn-d')
    await page.waitForSelector('tr:has([title="deep"])', { state: 'detached' })
    await kept(page, 'the delete of a folder')
  },

  async 'make and revoke a key'(open) {
    const { page } = await open()
    await page.goto(job.base + '/keys')
    await tabTo(page, '#name')
    await page.keyboard.type('typed')
    await page.keyboard.press('Enter')
    await focusOn(page, '#h-made')
    await tabTo(page, '[data-copy="#secret"]')
    await enter(page, '[data-confirm*="typed"]')
    await focusOn(page, 'dialog button')
    await enter(page, 'dialog .btn-d')
    await said(page, 'Revoked.')
    await kept(page, 'a key was revoked')
  },

  async 'look at a cleanup, and change the theme'(open) {
    const { page } = await open()
    await page.goto(job.base + '/admin')
    await tabTo(page, '#older')
    await page.keyboard.type('1h')
    await page.keyboard.press('Enter')
    await page.waitForSelector('#cleanup [role=status]')
    await kept(page, 'a preview')
    await enter(page, '[data-theme-form] button')
    await page.waitForSelector('html[data-theme=light]')
    await kept(page, 'another theme')
    await enter(page, '.me')
    await enter(page, '#account a[href="/keys"]')
    await page.waitForSelector('#h-keys')
    await kept(page, 'another page')
  },
})
