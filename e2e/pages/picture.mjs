// The pictures of the README (docs/img): taken here, copied by hand.
import { run, assert, shot, api, file, job } from './lib.mjs'

const put = (path, text, headers = {}) => api('PUT', `/files/me/${path}`, text, headers)
const mountains = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="640" height="420"><defs><linearGradient id="s" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="#9cc4ff"/><stop offset="1" stop-color="#ffe3c2"/></linearGradient></defs><rect width="640" height="420" fill="url(#s)"/><circle cx="470" cy="150" r="46" fill="#fff4d6"/><path d="M0 330 140 160l90 105 120-160 150 190 70-70 70 85v100H0z" fill="#5b7fb4"/><path d="M0 370l110-110 100 90 130-130 160 150 140-90v140H0z" fill="#2f4f7f"/></svg>')

await run({
  async 'a queue at work, and a folder'(open) {
    for (const [name, size, type] of [
      ['Q3-report.pdf', 2_400_000, 'application/pdf'], ['offsite-notes.txt', 8_100, 'text/plain'],
      ['dataset-export.csv.gz', 4_400_000, 'application/gzip'],
    ]) await api('POST', `/api/v1/uploads?filename=${name}`, Buffer.alloc(size, 7), { 'content-type': type })
    const painter = await open({ signedIn: false, width: 640, height: 420 })
    await painter.page.setContent(mountains.toString())
    const picture = await painter.page.locator('svg').screenshot({ type: 'png' })
    for (const [path, body, headers] of [
      ['photos/2026/alps-sunrise.png', picture, { 'content-type': 'image/png' }],
      ['photos/2026/alps-notes.txt', 'Tuesday: up at four.', { 'content-type': 'text/plain' }],
      ['photos/2026/alps-track.gpx', '<gpx/>', { 'content-type': 'application/gpx+xml' }],
      ['photos/2026/alps-panorama-full-resolution.zip', Buffer.alloc(1_900_000, 3), { 'content-type': 'application/zip' }],
      ['photos/2026/alps-timelapse.mp4', Buffer.alloc(3_200_000, 5), { 'content-type': 'video/mp4' }],
      ['photos/2026/hut-booking.pdf', Buffer.alloc(88_000, 5), { 'content-type': 'application/pdf' }],
      ['photos/2026/raw/a.dng', 'x', {}],
      ['photos/2026/raw/b.dng', 'x', {}],
    ]) await put(path, body, headers)
    const { page, context } = await open({ scheme: 'light', width: 1280, height: 800 })
    const cdp = await context.newCDPSession(page)
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    await cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 6e6 })
    await page.setInputFiles('#file', [file('all-hands-recording.mp4', Buffer.alloc(60e6, 1)), file('site-backup.tar.gz', Buffer.alloc(40e6, 2))])
    await page.waitForFunction(() => [...document.querySelectorAll('#queue progress')].some((bar) => bar.value > 15))
    await page.fill('#folder', 'reports/2026')
    await page.evaluate(() => document.activeElement.blur())
    await shot(page, 'readme-light')
    page.on('dialog', (dialog) => dialog.accept())
    const dark = await open({ scheme: 'dark', width: 1280, height: 800 })
    const { files } = await (await api('GET', '/api/v1/files?prefix=photos/2026/alps-sunrise')).json()
    await dark.page.goto(`${job.base}/files/local/photos/2026/?open=${files[0].id}`)
    await dark.page.waitForFunction(() => document.querySelector('#details img')?.complete)
    await shot(dark.page, 'readme-dark')
    assert.ok(await dark.page.locator('#details').isVisible())
  },
})
