// The queue: files go up while they are looked at, whatever happens to the
// page, the network or the session.
import { run, assert, axe, narrow, shot, api, file, job } from './lib.mjs'

const MB = 1_000_000
const bytesOf = (n, seed = 1) => Buffer.alloc(n, seed)
const state = (page, name) => page.getAttribute(`#queue > li:has([title="${name}"])`, 'data-state')
const inState = (page, name, ...states) => page.waitForFunction(([name, states]) => {
  const li = [...document.querySelectorAll('#queue > li')].find((l) => l.querySelector('.name').title === name)
  return li && states.includes(li.dataset.state)
}, [name, states])
const waits = (page, name) => page.waitForSelector(`#waiting-list > li:has([title="${name}"])`, { timeout: 60_000 })
const row = (name) => `#queue > li:has([title="${name}"])`

// slow bounds how fast a page uploads, so that a step can act in between.
async function slow(page, rate = 15 * MB) {
  const cdp = await page.context().newCDPSession(page)
  await cdp.send('Network.emulateNetworkConditions', {
    offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: rate,
  })
  return cdp
}

await run({
  async '200 MB go up with progress, and are submitted'(open) {
    const big = file('big.bin', bytesOf(200 * MB))
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.evaluate(() => {
      window.seen = []
      new MutationObserver(() => {
        const bar = document.querySelector('#queue progress[value]')
        if (bar) window.seen.push(bar.value)
      }).observe(document.body, { subtree: true, childList: true, attributes: true })
    })
    await page.setInputFiles('#file', big)
    await waits(page, 'big.bin')
    const seen = await page.evaluate(() => window.seen)
    assert.ok(new Set(seen).size >= 3 && seen.every((v, i) => !i || v >= seen[i - 1]), `progress ${[...new Set(seen)]}`)
    assert.equal(await page.locator('#queue > li').count(), 0)
    await page.fill('#folder', 'up')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts .toast')
    const { files } = await (await api('GET', '/api/v1/files?prefix=up/')).json()
    assert.deepEqual(files.map((f) => [f.path, f.size]), [['up/big.bin', 200 * MB]])
  },

  async 'it can be paused, resumed and cancelled'(open) {
    const { page, context } = await open()
    await slow(page)
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', file('pause.bin', bytesOf(40 * MB)))
    await inState(page, 'pause.bin', 'uploading')
    await axe(page, 'a running upload')
    await page.click(`${row('pause.bin')} [data-act=pause]`)
    assert.equal(await state(page, 'pause.bin'), 'paused')
    await shot(page, 'home-paused')
    await page.click(`${row('pause.bin')} [data-act=resume]`)
    await waits(page, 'pause.bin')
    await page.setInputFiles('#file', file('cancel.bin', bytesOf(40 * MB)))
    await inState(page, 'cancel.bin', 'uploading')
    await page.click(`${row('cancel.bin')} [data-act=cancel]`)
    await page.waitForSelector(row('cancel.bin'), { state: 'detached' })
    const list = async () => (await (await api('GET', '/api/v1/uploads')).json()).uploads.flatMap((u) => u.files.map((f) => f.name))
    for (let i = 0; i < 50 && (await list()).includes('cancel.bin'); i++) await page.waitForTimeout(100)
    assert.ok(!(await list()).includes('cancel.bin'), 'a cancelled upload is still there')
  },

  async 'a network that goes away comes back'(open) {
    const { page, context } = await open({ allow: [/ERR_INTERNET_DISCONNECTED|ERR_/] })
    await slow(page)
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', file('offline.bin', bytesOf(70 * MB)))
    await inState(page, 'offline.bin', 'uploading')
    await context.setOffline(true)
    await inState(page, 'offline.bin', 'offline', 'retrying')
    await context.setOffline(false)
    await waits(page, 'offline.bin')
  },

  async 'a cut connection goes on where it stopped'(open) {
    const { page, context } = await open({ allow: [/ERR_/] })
    let cut = 0
    const offsets = []
    page.on('request', (request) => {
      if (request.method() === 'PATCH') offsets.push(Number(request.headers()['upload-offset']))
    })
    await context.route('**/tus/*', (route) => route.request().method() === 'PATCH' && offsets.length === 2 && !cut++
      ? route.abort('connectionreset') : route.fallback())
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', file('cut.bin', bytesOf(70 * MB)))
    await waits(page, 'cut.bin')
    assert.equal(cut, 1)
    assert.ok(offsets[2] >= offsets[1] && offsets[1] > 0, `offsets ${offsets}`)
  },

  async 'a reload keeps what was received'(open) {
    const { page, context } = await open()
    await slow(page)
    page.on('dialog', (dialog) => dialog.accept())
    const at = file('reload.bin', bytesOf(70 * MB))
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', at)
    await page.waitForFunction(() => document.querySelector('#queue progress')?.value > 30)
    await page.reload()
    await inState(page, 'reload.bin', 'needs-file')
    await axe(page, 'a file that is needed again')
    await shot(page, 'home-needs-file')
    await page.setInputFiles('#file', at)
    const first = await page.waitForRequest((request) => request.method() === 'PATCH')
    assert.ok(Number(first.headers()['upload-offset']) > 0, 'it began anew')
    await waits(page, 'reload.bin')
    await page.reload()
    await waits(page, 'reload.bin')
    assert.equal(await page.locator('#queue > li').count(), 0)
  },

  async 'it goes on while other pages are looked at'(open) {
    const { page, context } = await open({ allow: [/404/] })
    await slow(page)
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', file('walk.bin', bytesOf(70 * MB)))
    await inState(page, 'walk.bin', 'uploading')
    await page.click('[data-nav=api]')
    await page.waitForSelector('#tray:not([hidden])')
    await page.waitForFunction(() => /^\d+% · API/.test(document.title))
    await page.goBack()
    await page.waitForSelector(row('walk.bin'))
    await waits(page, 'walk.bin')
  },

  async 'a session that ends in the middle loses nothing'(open) {
    const { page, context } = await open({ allow: [/401/] })
    await slow(page)
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', file('session.bin', bytesOf(70 * MB)))
    await inState(page, 'session.bin', 'uploading')
    await context.clearCookies({ name: 'upload_session' })
    await page.waitForSelector('dialog[open]')
    await axe(page, 'a session that ended')
    await shot(page, 'home-session-ended')
    assert.equal(await state(page, 'session.bin'), 'blocked')
    await context.addCookies([{ name: 'upload_session', value: job.session, url: job.base, httpOnly: true, sameSite: 'Lax' }])
    await page.evaluate(() => new BroadcastChannel('session').postMessage(document.body.dataset.owner))
    await waits(page, 'session.bin')
    assert.equal(await page.locator('dialog[open]').count(), 0)
  },

  async 'limits are told at the file'(open) {
    const { page } = await open({ allow: [/413|507/] })
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.evaluate(() => { document.getElementById('drop').dataset.maxFile = 1000 })
    await page.setInputFiles('#file', { name: 'large.txt', mimeType: 'text/plain', buffer: Buffer.alloc(2000) })
    await inState(page, 'large.txt', 'rejected')
    assert.match(await page.textContent(row('large.txt')), /This file is 2.kB\. The limit is 1.kB/)
    await page.evaluate(() => Object.assign(document.getElementById('drop').dataset, { maxFile: 0, left: 10 }))
    await page.setInputFiles('#file', { name: 'full.txt', mimeType: 'text/plain', buffer: Buffer.alloc(2000) })
    await inState(page, 'full.txt', 'rejected')
    await page.evaluate(() => { document.getElementById('drop').dataset.left = -1 })
    await page.route('**/tus/', (route) => route.fulfill({ status: 507, headers: { 'Retry-After': '60' }, body: '{}' }))
    await page.setInputFiles('#file', { name: 'disk.txt', mimeType: 'text/plain', buffer: Buffer.alloc(2000, 1) })
    await inState(page, 'disk.txt', 'failed')
    await axe(page, 'failed uploads')
    await narrow(page)
    await page.setViewportSize({ width: 360, height: 900 })
    await shot(page, 'home-failed-360')
    await page.unroute('**/tus/')
    await page.click(`${row('disk.txt')} .fix [data-act=retry]`)
    await waits(page, 'disk.txt')
  },

  async 'two tabs do not upload the same file twice'(open) {
    const { page, context } = await open()
    await slow(page)
    const at = file('tabs.bin', bytesOf(70 * MB))
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', at)
    await inState(page, 'tabs.bin', 'uploading')
    const other = await context.newPage()
    await other.goto(job.base + '/')
    await other.waitForLoadState('networkidle')
    await other.setInputFiles('#file', at)
    await inState(other, 'tabs.bin', 'failed')
    assert.match(await other.textContent(row('tabs.bin')), /Another tab/)
    await waits(page, 'tabs.bin')
  },

  async 'drop, paste and folders'(open) {
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.evaluate(() => {
      const data = new DataTransfer()
      data.items.add(new File(['dropped'], '<img src=x onerror=alert(1)>.txt', { type: 'text/plain' }))
      dispatchEvent(new DragEvent('dragenter', { dataTransfer: data, bubbles: true }))
      if (!document.getElementById('drop').classList.contains('over')) throw new Error('no sign that it may be dropped')
      dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))
      const pasted = new DataTransfer()
      pasted.items.add(new File(['pasted'], 'image.png', { type: 'image/png' }))
      dispatchEvent(new ClipboardEvent('paste', { clipboardData: pasted }))
    })
    await waits(page, '<img src=x onerror=alert(1)>.txt')
    await page.waitForSelector('#waiting-list .name[title^="pasted-"]')
    assert.equal(await page.locator('main img').count(), 0)
  },

  async 'the keyboard is enough'(open) {
    const { page, context } = await open()
    await slow(page)
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.focus('#file').then(() => page.keyboard.press('Enter'))])
    await chooser.setFiles(file('keys.bin', bytesOf(40 * MB)))
    await inState(page, 'keys.bin', 'uploading')
    await page.focus(`${row('keys.bin')} [data-act=pause]`)
    await page.keyboard.press('Enter')
    await inState(page, 'keys.bin', 'paused')
    assert.equal(await page.evaluate(() => document.activeElement.dataset.act), 'resume')
    await page.keyboard.press('Enter')
    await waits(page, 'keys.bin')
    await page.focus('#folder')
    await page.keyboard.type('keyboard')
    await page.keyboard.press('Control+Enter')
    await page.waitForSelector('#toasts .toast')
  },
})
