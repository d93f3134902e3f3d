// The list of files.
import { run, assert, axe, narrow, everyLook, shot, tabTo, focusOn, api, job } from './lib.mjs'

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
    await page.click('[title="deep/b.txt"]')
    await page.waitForSelector('#details [title="b.txt"]')
    assert.equal(await page.getAttribute('#details', 'role'), null)
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
    const script = '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
    await put(`evil/${name}/${name}.txt`)
    await put(`evil/${name}.html`, '<script>alert(1)</script>')
    await put(`evil/${name}.svg`, script)
    await put('evil/x.js', 'alert(1)')
    const { page, context } = await open()
    page.on('dialog', () => { throw new Error('a script of the content ran') })
    await page.goto(job.base + '/files/local/evil/')
    assert.equal(await page.locator('main img').count(), 0)
    for (const kind of ['html', 'svg']) {
      await page.click(`#rows a:has([title$=".${kind}"])`)
      await page.waitForSelector(`#details .name[title$=".${kind}"]`)
    }
    await page.fill('#tag', name)
    await page.click('.change .btn:has-text("Save")')
    await said(page, 'Saved.')
    await page.waitForSelector(`#rows .chip:text-is("${name}")`)
    await page.click(`tr:has([title="${name}"]) button[data-confirm]`)
    await page.waitForSelector(`dialog[open] h2:has-text("${name}")`)
    await page.click('dialog .btn-d')
    await said(page, 'Deleted 1 file.')
    await page.goto(`${job.base}/files/local/evil/?q=${encodeURIComponent(name + '!')}`)
    await page.waitForSelector(`#list p:has-text("${name}!")`)
    assert.equal(await page.locator('img').count(), 0)
    await shot(page, 'files-evil')
    // Opened directly it is a download, and inline it is refused to run.
    for (const kind of ['html', 'svg']) {
      for (const suffix of ['', '?inline=1']) {
        const at = `${job.base}/files/local/evil/${encodeURIComponent(name)}.${kind}${suffix}`
        const res = await context.request.get(at)
        assert.match(res.headers()['content-disposition'], /^attachment/)
        assert.match(res.headers()['content-security-policy'], /^sandbox/)
        const download = page.waitForEvent('download')
        await page.goto(at).catch((error) => assert.match(error.message, /Download is starting|ERR_ABORTED/))
        assert.equal((await download).suggestedFilename().endsWith(`.${kind}`), true)
      }
    }
  },

  async 'what was uploaded is no script of a page'(open) {
    await put('evil/x.js', 'window.ran = true')
    await put('evil/x.css', 'body { display: none }')
    const { page } = await open({ allow: [/policy: (script|style)-src-elem .*evil|Content Security Policy|403|Refused to execute/] })
    // 1. The policy does not let it, should markup ever get into a page.
    await page.route('**/docs', async (route) => {
      const response = await route.fetch()
      const body = (await response.text()).replace('</main>',
        '<script src="/files/me/evil/x.js"></script><link rel="stylesheet" href="/files/me/evil/x.css"></main>')
      await route.fulfill({ response, body })
    })
    const violations = page.waitForEvent('console', (message) => /Content Security Policy/.test(message.text()))
    await page.goto(job.base + '/docs')
    await violations
    const harmless = async () => {
      assert.equal(await page.evaluate(() => window.ran), undefined)
      assert.equal(await page.evaluate(() => getComputedStyle(document.body).display), 'block')
    }
    await harmless()
    // 2. The server does not send it, should a script of ours ask for it.
    const failed = await page.evaluate(() => new Promise((done) => {
      const script = Object.assign(document.createElement('script'), { onload: () => done(false), onerror: () => done(true) })
      script.src = '/files/me/evil/x.js'
      document.head.append(script)
    }))
    assert.equal(failed, true)
    await harmless()
  },

  async 'text, data, sound, film and PDF are shown'(open) {
    const { page, context } = await open()
    await page.goto(job.base + '/docs')
    const film = await page.evaluate(async () => {
      const canvas = document.createElement('canvas')
      const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: 'video/webm' })
      const parts = []
      recorder.ondataavailable = ({ data }) => parts.push(data)
      const stopped = new Promise((done) => { recorder.onstop = done })
      recorder.start()
      for (let i = 0; i < 20; i++) {
        canvas.getContext('2d').fillRect(i, i, 9, 9)
        await new Promise((drawn) => requestAnimationFrame(drawn))
      }
      recorder.stop()
      await stopped
      return [...new Uint8Array(await new Blob(parts).arrayBuffer())]
    })
    const sound = Buffer.alloc(44 + 8000)
    sound.write('RIFF', 0)
    sound.writeUInt32LE(36 + 8000, 4)
    sound.write('WAVEfmt ', 8)
    sound.writeUInt32LE(16, 16)
    sound.writeUInt16LE(1, 20)
    sound.writeUInt16LE(1, 22)
    sound.writeUInt32LE(8000, 24)
    sound.writeUInt32LE(8000, 28)
    sound.writeUInt16LE(1, 32)
    sound.writeUInt16LE(8, 34)
    sound.write('data', 36)
    sound.writeUInt32LE(8000, 40)
    const show = async (name, content) => {
      const { id } = await (await put(`shown/${name}`, content)).json()
      await page.goto(`${job.base}/files/local/shown/?open=${id}`)
    }
    await show('data.json', '{"answer": [42, "<b>"]}')
    assert.equal(await page.textContent('#details pre'), '{"answer": [42, "<b>"]}')
    await show('sound.wav', sound)
    await page.waitForFunction(() => document.querySelector('#details audio').duration === 1)
    await show('film.webm', Buffer.from(film))
    await page.waitForFunction(() => document.querySelector('#details video').videoWidth > 0)
    await axe(page, 'a film')
    await show('paper.pdf', '%PDF-1.4\n')
    const link = page.locator('#details .shot a')
    assert.equal(await link.getAttribute('target'), '_blank')
    const res = await context.request.get(job.base + await link.getAttribute('href'))
    assert.deepEqual([res.headers()['content-type'], res.headers()['content-disposition'].split(';')[0]], ['application/pdf', 'inline'])
    assert.doesNotMatch(res.headers()['content-security-policy'], /sandbox|script-src/)
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.click('#details [data-copy="#link"]')
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${job.base}/files/local/shown/paper.pdf`)
  },

  async 'on a narrow page the details are a dialog'(open) {
    await put('sheet/a.txt')
    await put('sheet/b.txt')
    const { page } = await open({ width: 360 })
    await page.goto(job.base + '/files/local/sheet/')
    await tabTo(page, 'tr:has([title="b.txt"]) a.row')
    await page.keyboard.press('Enter')
    await focusOn(page, '#details h2')
    assert.equal(await page.getAttribute('#details', 'role'), 'dialog')
    for (let i = 0; i < 30; i++) {
      await page.keyboard.press('Tab')
      assert.ok(await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest('#details')),
        'the focus is behind the details')
    }
    await axe(page, 'details on a narrow page')
    await shot(page, 'files-details-360')
    await page.keyboard.press('Escape')
    await focusOn(page, 'tr:has([title="b.txt"]) a.row')
    assert.equal(await page.locator('[inert]').count(), 0)
    await tabTo(page, 'tr:has([title="b.txt"]) a.row')
  },

  async 'Enter in the field for a folder moves'(open) {
    await put('enter/a.txt')
    await put('enter/b.txt')
    for (const javaScript of [true, false]) {
      const { page } = await open({ javaScript })
      await page.goto(job.base + '/files/local/enter/')
      await page.check('tr:has([title="b.txt"]) input', { force: true })
      await page.fill('.selbar input[name=to]', 'entered')
      await page.press('.selbar input[name=to]', 'Enter')
      await page.waitForSelector('.toast:has-text("Moved 1 file")')
      assert.deepEqual(await paths('enter'), ['enter/a.txt', 'entered/b.txt'])
      await page.click('.toast button:has-text("Undo")')
      await page.waitForSelector('[title="b.txt"]')
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
    await page.click('.me')
    await page.waitForSelector('#account a')
    await axe(page, 'a selection, a note and the menu of the account')
    await page.keyboard.press('Escape')
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
    await said(page, 'mv2/one.txt')
    assert.equal(await page.inputValue('.selbar input[name=to]'), 'mv2', 'the page is kept when an action fails')
    assert.equal(await page.isChecked('tr:has([title="one.txt"]) .ck'), true)
    await page.click('#rows a:has-text("one.txt")')
    await page.waitForSelector('#details #name')
    await page.fill('#name', 'two.txt')
    await page.click('.change .btn:has-text("Save")')
    await said(page, 'mv/two.txt')
    assert.equal(await page.inputValue('#name'), 'two.txt', 'what was typed is kept')
  },

  async 'a name is shown with its spaces'(open) {
    await put('spaced/three (1).txt')
    const { page } = await open()
    await page.goto(job.base + '/files/local/spaced/')
    const [shown, whole] = await page.evaluate(() => {
      const head = document.querySelector('#rows .name .a')
      const shown = head.getBoundingClientRect().width
      head.textContent = head.textContent.replaceAll(' ', '\u00a0') // which is never left out
      return [shown, head.getBoundingClientRect().width]
    })
    assert.equal(shown, whole)
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
    await put('zip/again/c.txt', 'c')
    await page.goto(job.base + '/files/local/zip/')
    await page.click('label:has(#all)')
    await page.click('.selbar button[formaction="/actions/delete"]')
    await page.waitForSelector('dialog[open]:has-text("(2)")')
    await page.keyboard.press('Escape')
    assert.equal((await paths('zip/')).length, 2)
    await page.click('.selbar button[formaction="/actions/delete"]')
    await page.click('dialog .btn-d')
    await said(page, 'Deleted 2 files.')
    await page.keyboard.press('Control+z')
    await said(page, '2 files are back.')
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
    await page.waitForFunction(() => document.activeElement.name === 'q')
    await page.keyboard.press('Tab')
    await tabTo(page, '#rows a.row')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('i')
    await page.waitForSelector('#details [title="b.txt"]')
    // What scrolls or plays keeps its keys, and so does the browser.
    await tabTo(page, '#details pre')
    await page.keyboard.press('ArrowDown')
    await page.waitForFunction(() => document.activeElement.tagName === 'PRE')
    await tabTo(page, 'tr:has([title="b.txt"]) a.row')
    for (const [key, modifier] of [['d', 'metaKey'], ['d', 'altKey'], ['Backspace', 'metaKey'], ['Delete', 'ctrlKey']]) {
      const free = await page.evaluate(([key, modifier]) => document.activeElement.dispatchEvent(
        new KeyboardEvent('keydown', { key, [modifier]: true, bubbles: true, cancelable: true })), [key, modifier])
      assert.equal(free, true, `${modifier} and ${key} belong to the browser`)
    }
    await page.keyboard.press('Escape')
    await page.waitForSelector('#details', { state: 'hidden' })
    await focusOn(page, 'tr:has([title="b.txt"]) a.row')
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('Delete')
    await said(page, 'Deleted 1 file.')
    await page.waitForFunction(() => document.activeElement.closest('tr')?.querySelector('.name').title === 'b.txt')
    await page.keyboard.press('Control+z')
    await said(page, '1 file is back.')
    await tabTo(page, 'tr:has([title="a.txt"]) a.row')
    await page.keyboard.press('Shift+ArrowDown')
    await page.keyboard.press('Space')
    await page.keyboard.press('Control+a')
    await page.waitForSelector('.selbar:has-text("2 selected")')
    await page.keyboard.press('Delete')
    await said(page, 'Deleted 2 files.')
    await page.keyboard.press('g')
    await page.keyboard.press('u')
    await page.waitForSelector('#drop')
  },

  async 'single keys can be switched off'(open) {
    await put('off/a.txt')
    const { page } = await open()
    await page.goto(job.base + '/files/local/off/')
    await page.keyboard.press('?')
    await page.keyboard.press('Tab')
    await tabTo(page, 'dialog .ck')
    await page.keyboard.press('Space')
    await page.keyboard.press('Escape')
    await tabTo(page, '#rows a.row')
    for (const key of ['i', 'g', 'u', '/', 'ArrowUp']) await page.keyboard.press(key)
    await focusOn(page, '#rows a.row')
    assert.doesNotMatch(page.url(), /open=/)
    await page.keyboard.press('Enter')
    await page.waitForSelector('#details [title="a.txt"]')
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
    const { page } = await open()
    await everyLook(page, 'files', { at: `${job.base}/files/local/walk/?open=${files[0].id}` })
    await everyLook(page, 'files-empty', { at: `${job.base}/files/local/none/` })
  },
})
