// The queue: files go up while they are looked at, whatever happens to the
// page, the network or the session.
import fs from 'node:fs'
import path from 'node:path'
import { run, assert, axe, narrow, shot, tabTo, api, file, job, elsewhere } from './lib.mjs'

const MB = 1_000_000
const bytesOf = (n, seed = 1) => Buffer.alloc(n, seed)
const state = (page, name) => page.getAttribute(`#queue > li:has([title="${name}"])`, 'data-state')
const inState = (page, name, ...states) => page.waitForFunction(([name, states]) => {
  const li = [...document.querySelectorAll('#queue > li')].find((l) => l.querySelector('.name').title === name)
  return li && states.includes(li.dataset.state)
}, [name, states])
const waits = (page, name) => page.waitForSelector(`#waiting-list > li:has([title="${name}"])`, { timeout: 60_000 })
const row = (name) => `#queue > li:has([title="${name}"])`

// drop lets a person drop what is on disk, a folder too.
async function drop(page, at) {
  const box = await page.locator('#drop').boundingBox()
  const cdp = await page.context().newCDPSession(page)
  for (const type of ['dragEnter', 'dragOver', 'drop']) {
    await cdp.send('Input.dispatchDragEvent', {
      type, x: box.x + 20, y: box.y + 20, data: { items: [], files: [at], dragOperationsMask: 1 },
    })
  }
}

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
    const { page, context } = await open({ allow: [/ERR_|409/] }) // what was sent before may arrive behind the question
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

  async 'connections that are cut in the middle of a body cost nothing'(open) {
    const { page } = await open({ allow: [/ERR_|409/], base: job.network }) // each is cut after 12 MiB
    const offsets = []
    page.on('request', (request) => {
      if (request.method() === 'PATCH') offsets.push(Number(request.headers()['upload-offset']))
    })
    await page.goto(job.network + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', file('cut.bin', bytesOf(70 * MB)))
    await waits(page, 'cut.bin')
    assert.ok(offsets.length >= 6, `offsets ${offsets}`)
    assert.ok(offsets.every((at, i) => !i || at > offsets[i - 1]), `bytes were sent twice: offsets ${offsets}`)
    await page.fill('#folder', 'cut')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts .toast')
    const got = Buffer.from(await (await api('GET', '/files/me/cut/cut.bin')).arrayBuffer())
    assert.ok(got.equals(bytesOf(70 * MB)), 'other bytes arrived')
  },

  async 'a server in trouble is asked less and less often'(open) {
    const { page } = await open({ allow: [/50[03]/] })
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    const times = []
    let asked = 0
    await page.route('**/tus/*', (route) => {
      const method = route.request().method()
      if (method === 'HEAD' && !asked++) return route.fulfill({ status: 503 })
      if (method !== 'PATCH' || times.length === 4) return route.fallback()
      times.push(Date.now())
      return route.fulfill({ status: 500, headers: { 'Tus-Resumable': '1.0.0' }, body: '{}' })
    })
    let begun = 0
    page.on('request', (request) => { begun += request.method() === 'POST' && request.url().endsWith('/tus/') })
    await page.setInputFiles('#file', file('trouble.bin', bytesOf(5 * MB)))
    await page.waitForSelector(`${row('trouble.bin')} :text("The server is in trouble. Trying again in")`)
    await waits(page, 'trouble.bin')
    const gaps = times.slice(1).map((at, i) => at - times[i])
    assert.ok(gaps[0] >= 1000 && gaps[1] >= 3000 && gaps[2] >= 5000, `tried again after ${gaps} ms`)
    assert.equal(begun, 1, 'it began anew')
  },

  async 'a reload keeps what was received'(open) {
    const { page } = await open({ allow: [/503/] })
    await slow(page)
    page.on('dialog', (dialog) => dialog.accept())
    const at = file('reload.bin', bytesOf(70 * MB))
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file', at)
    await page.waitForFunction(() => document.querySelector('#queue progress')?.value > 30)
    // A server that is in trouble now does not make the page forget.
    const trouble = (route) => (route.request().method() === 'HEAD' ? route.fulfill({ status: 503 }) : route.fallback())
    await page.route('**/tus/*', trouble)
    const asked = page.waitForResponse((response) => response.request().method() === 'HEAD')
    await page.reload()
    await asked
    await page.unroute('**/tus/*', trouble)
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

  async 'it works over plain http'(open) {
    const base = job.base.replace('127.0.0.1', elsewhere)
    const { page } = await open({ base })
    await page.goto(base + '/')
    assert.ok(!(await page.evaluate(() => isSecureContext)), 'the browser trusts this address')
    await page.setInputFiles('#file', file('lan.bin', bytesOf(3 * MB)))
    await waits(page, 'lan.bin')
    await page.reload()
    await waits(page, 'lan.bin')
    await page.click('li:has([title="lan.bin"]) .acts button')
    await page.waitForSelector('li:has([title="lan.bin"])', { state: 'detached' })
  },

  async 'files that come before the queue wait for it'(open) {
    const { page } = await open()
    let loaded
    const wait = new Promise((resolve) => { loaded = resolve })
    await page.route('**/uploader.*.js', async (route) => {
      await wait
      await route.continue()
    })
    await page.goto(job.base + '/')
    await page.setInputFiles('#file', { name: 'early.txt', mimeType: 'text/plain', buffer: Buffer.from('early') })
    await drop(page, file('dropped.txt', 'dropped'))
    loaded()
    await waits(page, 'early.txt')
    await waits(page, 'dropped.txt')
  },

  async 'without the queue the form is sent as it is'(open) {
    const { page } = await open({ allow: [/ERR_FAILED|dynamically imported/] })
    await page.route('**/uploader.*.js', (route) => route.abort())
    await page.goto(job.base + '/')
    await page.setInputFiles('#file', { name: 'no-queue.txt', mimeType: 'text/plain', buffer: Buffer.from('plain') })
    await page.waitForSelector('#toasts :text("did not load")')
    await axe(page, 'a page without its queue')
    await page.click('.plain button')
    await waits(page, 'no-queue.txt')
    await page.route('**/app.*.js', (route) => route.abort())
    await page.goto(job.base + '/')
    assert.ok(!(await page.isVisible('.plain button')), 'the button is there before it is known that scripts do not come')
    await page.setInputFiles('#file', { name: 'no-script.txt', mimeType: 'text/plain', buffer: Buffer.from('plain') })
    await page.click('.plain button')
    await waits(page, 'no-script.txt')
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

  async 'what failed for good leaves nothing on the server'(open) {
    const { page } = await open({ allow: [/4(15|00)|507/] })
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    const waiting = async () => (await (await api('GET', '/api/v1/uploads')).json()).uploads.map((u) => u.files[0].name)
    const refuse = (status) => (route) => (route.request().method() === 'PATCH'
      ? route.fulfill({ status, contentType: 'application/problem+json', body: '{"code":"x","detail":"No."}' }) : route.fallback())
    for (const [name, status] of [['never.bin', 415], ['later.bin', 507]]) {
      await page.route('**/tus/*', refuse(status))
      const gone = page.waitForResponse((response) => response.request().method() === 'DELETE')
      await page.setInputFiles('#file', file(name, bytesOf(3 * MB, status)))
      await inState(page, name, 'failed')
      if (status === 507) { // until a person gives up
        assert.ok((await waiting()).includes(name))
        await page.click(`${row(name)} [data-act=remove]`)
      }
      assert.equal((await gone).status(), 204)
      assert.ok(!(await waiting()).includes(name))
      assert.equal(await page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('upload:')).length), 0)
      await page.unroute('**/tus/*')
    }
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

  async 'drop and paste'(open) {
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

  async 'a folder keeps its folders'(open) {
    for (const folder of ['chosen', 'dropped']) {
      for (const name of ['a/__init__.py', 'b/__init__.py', 'b/deep/er.txt']) {
        fs.utimesSync(file(`${folder}/${name}`, ''), 1e9, 1e9) // all of them look the same
      }
    }
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await page.setInputFiles('#file-folder', path.join(job.scratch, 'chosen'))
    await drop(page, path.join(job.scratch, 'dropped'))
    const names = ['chosen', 'dropped'].flatMap((folder) =>
      ['a/__init__.py', 'b/__init__.py', 'b/deep/er.txt'].map((name) => `${folder}/${name}`))
    for (const name of names) await waits(page, name)
    await narrow(page)
    await page.fill('#folder', 'tree')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts .toast')
    const { files } = await (await api('GET', '/api/v1/files?prefix=tree/')).json()
    for (const name of names) assert.ok(files.some((f) => f.path === `tree/${name}`), `${name} is not there`)
  },

  async 'the keyboard is enough'(open) {
    const { page, context } = await open()
    await slow(page)
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await tabTo(page, '#file')
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.keyboard.press('Enter')])
    await chooser.setFiles(file('keys.bin', bytesOf(40 * MB)))
    await inState(page, 'keys.bin', 'uploading')
    await tabTo(page, `${row('keys.bin')} [data-act=pause]`)
    await page.keyboard.press('Enter')
    await inState(page, 'keys.bin', 'paused')
    await page.waitForFunction(() => document.activeElement.dataset.act === 'resume')
    await page.keyboard.press('Enter')
    await waits(page, 'keys.bin')
    await tabTo(page, '#folder')
    await page.keyboard.type('keyboard')
    await page.keyboard.press('Control+Enter')
    await page.waitForSelector('#toasts .toast')
  },
})
