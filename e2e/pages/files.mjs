// The list of files.
import { run, assert, axe, narrow, looks, shot, api, job } from './lib.mjs'

const put = (path, text = 'content', headers = {}) =>
  api('PUT', '/files/me/' + path.split('/').map(encodeURIComponent).join('/'), text, headers)
const names = (page) => page.$$eval('#rows .name', (list) => list.map((n) => n.title))
const paths = async (prefix) =>
  (await (await api('GET', `/api/v1/files?prefix=${prefix}&limit=1000`)).json()).files.map((f) => f.path)
const said = (page, text) => page.waitForSelector(`#toasts .toast:has-text("${text}")`)
const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==', 'base64')

await run({
  async 'folders, search, sort and details are addresses'(open) {
    await put('walk/a.txt', 'the first text')
    await put('walk/deep/b.txt')
    await put('walk/p.png', png)
    const { page } = await open()
    await page.goto(job.base + '/files/local/')
    await page.evaluate(() => { window.still = true })
    await page.click('#rows a:has-text("walk")')
    await page.waitForSelector('#rows a:has-text("deep")')
    assert.equal(new URL(page.url()).pathname, '/files/local/walk/')
    assert.deepEqual(await names(page), ['deep', 'a.txt', 'p.png'])
    await page.fill('input[name=q]', 'b.t')
    await page.waitForFunction(() => document.querySelectorAll('#rows .name').length === 1)
    assert.deepEqual(await names(page), ['deep/b.txt'])
    assert.match(page.url(), /q=b\.t/)
    await page.fill('input[name=q]', 'nothing like it')
    await page.waitForSelector('text=Nothing found for')
    await axe(page, 'nothing found')
    await page.goBack()
    await page.goto(job.base + '/files/local/walk/')
    await page.selectOption('select[name=sort]', '-created_at')
    await page.waitForFunction(() => document.querySelector('#rows .name')?.title === 'p.png')
    await page.click('#rows a:has-text("a.txt")')
    await page.waitForSelector('#details pre:has-text("the first text")')
    assert.match(page.url(), /open=/)
    await page.reload()
    await page.waitForSelector('#details pre:has-text("the first text")')
    await page.click('#rows a:has-text("p.png")')
    await page.waitForFunction(() => document.querySelector('#details img')?.naturalWidth === 1)
    await page.click('[data-close-details]')
    await page.waitForSelector('#details', { state: 'hidden' })
  },

  async 'names and contents are never markup'(open) {
    const name = '<img src=x onerror=alert(1)>'
    await put(`evil/${name}.html`, '<script>alert(1)</script>')
    await put(`evil/${name}.svg`, '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>')
    const { page, context } = await open()
    page.on('dialog', () => { throw new Error('a script of the content ran') })
    await page.goto(job.base + '/files/local/evil/')
    assert.equal(await page.locator('main img').count(), 0)
    for (const kind of ['html', 'svg']) {
      await page.click(`#rows a:has([title$=".${kind}"])`)
      await page.waitForSelector(`#details .name[title$=".${kind}"]`)
    }
    await shot(page, 'files-evil')
    // Opened directly it is a download, and inline it is refused to run.
    for (const suffix of ['', '?inline=1']) {
      const at = `/files/local/evil/${encodeURIComponent(name)}.html${suffix}`
      const res = await context.request.get(job.base + at)
      assert.match(res.headers()['content-disposition'], /^attachment/)
      assert.match(res.headers()['content-security-policy'], /^sandbox/)
    }
  },

  async 'a delete is taken back'(open) {
    for (const n of [1, 2, 3, 4]) await put(`del/${n}.txt`)
    const { page } = await open()
    await page.goto(job.base + '/files/local/del/')
    await page.click('tr:has([title="1.txt"]) button[formaction="/actions/delete"]')
    await said(page, 'Deleted 1 file.')
    await page.waitForSelector('[title="1.txt"]', { state: 'detached' })
    assert.equal((await paths('del/')).length, 3)
    await page.keyboard.press('Control+z')
    await said(page, '1 file is back.')
    await page.waitForSelector('[title="1.txt"]')
    await page.click('tr:has([title="1.txt"]) .ckw')
    await page.click('tr:has([title="3.txt"]) .ckw', { modifiers: ['Shift'] })
    assert.match(await page.textContent('.selbar'), /3 selected\s+21.bytes/)
    await axe(page, 'a selection')
    await page.click('.selbar button[formaction="/actions/delete"]')
    await said(page, 'Deleted 3 files.')
    assert.deepEqual(await paths('del/'), ['del/4.txt'])
    await page.click('.toast:has-text("Deleted 3 files.") [data-undo]')
    await said(page, '3 files are back.')
    assert.equal((await paths('del/')).length, 4)
    await page.click('tr:has([title="1.txt"]) .ckw')
    await shot(page, 'files-selected-1400')
  },

  async 'files are renamed, tagged and moved'(open) {
    await put('mv/one.txt')
    await put('mv/two.txt')
    const { page } = await open({ allow: [/409/] })
    await page.goto(job.base + '/files/local/mv/')
    await page.click('#rows a:has-text("one.txt")')
    await page.waitForSelector('#details #name')
    await page.fill('#name', 'renamed.txt')
    await page.fill('#tag', 'x, y')
    await page.click('.change .btn:has-text("Save")')
    await said(page, 'Saved.')
    await page.waitForSelector('[title="renamed.txt"]')
    assert.deepEqual(await page.$$eval('tr:has([title="renamed.txt"]) .chip', (c) => c.map((e) => e.textContent)), ['x', 'y'])
    await page.click('.toast:has-text("Saved") [data-undo]')
    await page.waitForSelector('[title="one.txt"]')
    for (const name of ['one.txt', 'two.txt']) await page.click(`tr:has([title="${name}"]) .ckw`)
    await page.fill('.selbar input[name=to]', 'moved/here')
    await page.click('.selbar button[formaction="/actions/move"]')
    await said(page, 'Moved 2 files to “local/moved/here”.')
    assert.deepEqual(await paths('moved/'), ['moved/here/one.txt', 'moved/here/two.txt'])
    await page.click('.toast:has-text("Moved 2 files") [data-undo]')
    await page.waitForSelector('[title="one.txt"]')
    await put('mv2/one.txt')
    await page.click('tr:has([title="one.txt"]) .ckw')
    await page.fill('.selbar input[name=to]', 'mv2')
    await page.click('.selbar button[formaction="/actions/move"]')
    await page.waitForSelector('h1:has-text("Conflict")')
  },

  async 'a folder is asked about, and an archive fetched'(open) {
    await put('zip/a.txt', 'a')
    await put('zip/sub/b.txt', 'b')
    const { page } = await open()
    await page.goto(job.base + '/files/local/zip/')
    const [all] = await Promise.all([page.waitForEvent('download'), page.click('.head-end a:has-text("Download zip")')])
    assert.equal(all.suggestedFilename(), 'zip.zip')
    await page.click('tr:has([title="a.txt"]) .ckw')
    const [some] = await Promise.all([page.waitForEvent('download'), page.click('.selbar [data-native]')])
    assert.equal(await some.failure(), null)
    await page.click('tr:has([title="sub"]) button[data-confirm]')
    await page.waitForSelector('dialog[open]')
    await axe(page, 'a question')
    await page.keyboard.press('Escape')
    assert.equal((await paths('zip/sub/')).length, 1)
    await page.click('tr:has([title="sub"]) button[data-confirm]')
    await page.click('dialog .btn-d')
    await said(page, 'Deleted 1 file.')
    assert.equal((await paths('zip/sub/')).length, 0)
  },

  async 'a long list grows as it is scrolled'(open) {
    const send = []
    for (let i = 0; i < 250; i++) send.push(put(`long/${String(i).padStart(3, '0')}.txt`, 'x'))
    await Promise.all(send)
    const { page } = await open()
    await page.goto(job.base + '/files/local/long/')
    assert.equal((await names(page)).length, 100)
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight))
    await page.waitForFunction(() => document.querySelectorAll('#rows .name').length >= 200)
    await page.click('tr:has([title="150.txt"]) button[formaction="/actions/delete"]')
    await said(page, 'Deleted 1 file.')
    assert.ok((await names(page)).length >= 199, 'the rows that were loaded are gone')
  },

  async 'the keyboard is enough'(open) {
    await put('keys/a.txt')
    await put('keys/b.txt')
    const { page } = await open()
    await page.goto(job.base + '/files/local/keys/')
    await page.keyboard.press('?')
    await page.waitForSelector('dialog[open] .keys')
    await axe(page, 'the list of keys')
    await page.keyboard.press('Escape')
    await page.keyboard.press('/')
    assert.equal(await page.evaluate(() => document.activeElement.name), 'q')
    await page.keyboard.press('Tab')
    await page.focus('#rows a.row')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('i')
    await page.waitForSelector('#details [title="b.txt"]')
    await page.keyboard.press('Escape')
    await page.waitForSelector('#details', { state: 'hidden' })
    await page.focus('tr:has([title="a.txt"]) a.row')
    await page.keyboard.press('Delete')
    await said(page, 'Deleted 1 file.')
    assert.equal(await page.evaluate(() => document.activeElement.closest('tr')?.querySelector('.name').title), 'b.txt')
    await page.keyboard.press('g')
    await page.keyboard.press('u')
    await page.waitForSelector('#drop')
  },

  async 'everything works without scripts'(open) {
    for (const n of ['a', 'b', 'c']) await put(`plain/${n}.txt`)
    const { page } = await open({ javaScript: false })
    await page.goto(job.base + '/files/local/plain/')
    await page.fill('input[name=q]', 'b.txt')
    await page.click('button:has-text("Show")')
    await page.waitForSelector('[title="b.txt"]')
    await page.click('#rows a.row')
    await page.fill('#name', 'renamed.txt')
    await page.click('.change .btn:has-text("Save")')
    await page.waitForSelector('.toast:has-text("Saved.")')
    await page.check('tr:has([title="a.txt"]) input', { force: true })
    await page.check('tr:has([title="c.txt"]) input', { force: true })
    await page.click('.selbar button[formaction="/actions/delete"]')
    await page.waitForSelector('.toast:has-text("Deleted 2 files.")')
    await page.click('.toast button:has-text("Undo")')
    await page.waitForSelector('.toast:has-text("2 files are back.")')
    assert.equal((await paths('plain/')).length, 3)
  },

  async 'it fits every width'(open) {
    await put('walk/a-file-with-a-very-long-name-that-goes-on-and-on-and-would-not-fit-anywhere.tar.gz', 'x', { 'X-Meta-Project': 'apollo' })
    const { page } = await open()
    await page.goto(job.base + '/files/local/walk/')
    await narrow(page)
    await page.setViewportSize({ width: 360, height: 900 })
    await page.waitForSelector('.nav', { state: 'visible' })
    await page.waitForSelector('.selbar', { state: 'hidden' })
    await page.click('#rows .ckw >> nth=0')
    await page.waitForSelector('.nav', { state: 'hidden' }) // its place is taken
    await page.waitForSelector('.selbar', { state: 'visible' })
    await page.click('[data-clear]')
    await page.setViewportSize({ width: 1400, height: 900 })
    await page.click('#rows a:has-text("a-file")')
    await page.waitForSelector('#details .name')
    await narrow(page)
  },

  async 'it looks right, and everybody can use it'(open) {
    const { files } = await (await api('GET', '/api/v1/files?prefix=walk/p')).json()
    await looks(open, 'files', (page) => page.goto(`${job.base}/files/local/walk/?open=${files[0].id}`))
    await looks(open, 'files-empty', (page) => page.goto(`${job.base}/files/local/none/`))
  },
})
