// What the first visit costs: bytes, requests, shifts of the layout. The times
// are printed for the reader, and of them only a first paint of many seconds fails.
import { run, assert, api, job } from './lib.mjs'

const maxBytes = 60_000
const maxRequests = 4
// 0 to three places, as tools print it: a paint in the middle of reading the page
// can move a line by some pixels.
const maxShift = 0.0005

async function visit(open, path, options) {
  const { page } = await open(options)
  await page.addInitScript(() => {
    window.shift = 0
    window.shifts = []
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        window.shift += entry.value
        for (const { node, previousRect: a, currentRect: b } of entry.sources) {
          const what = node?.outerHTML?.slice(0, 80) ?? node?.textContent
          window.shifts.push(`${what}: ${a.x},${a.y} ${a.width}x${a.height} to ${b.x},${b.y} ${b.width}x${b.height}`)
        }
      }
    }).observe({ type: 'layout-shift', buffered: true })
  })
  const answers = []
  page.on('requestfinished', (request) => answers.push(request))
  // The queue is loaded when the page has nothing else to do, which may be late.
  const queue = path === '/' && options.signedIn !== false &&
    page.waitForEvent('requestfinished', (request) => /uploader\./.test(request.url()))
  await page.goto(job.base + path, { waitUntil: 'networkidle' })
  await queue
  let bytes = 0
  for (const request of answers) {
    if (request.url().startsWith('data:')) continue
    const sizes = await request.sizes()
    bytes += sizes.responseBodySize + sizes.responseHeadersSize
  }
  const requests = answers.filter((request) => !request.url().startsWith('data:')).length
  const { shift, shifts, paint, server } = await page.evaluate(async () => ({
    shift: window.shift,
    shifts: window.shifts,
    paint: await new Promise((done) => new PerformanceObserver((list) => { // the entry comes some time after the paint
      const first = list.getEntriesByName('first-contentful-paint')[0]
      if (first) done(first.startTime)
    }).observe({ type: 'paint', buffered: true })),
    server: performance.getEntriesByType('navigation')[0].responseStart,
  }))
  console.log(`${path}: ${bytes} bytes in ${requests} requests, answer after ${Math.round(server)} ms, ` +
    `first paint after ${Math.round(paint)} ms`)
  return { bytes, requests, shift, shifts, paint }
}

// A machine that does all else besides paints in half of it.
const maxPaint = 8000

await run({
  async 'the first page is small and does not jump'(open) {
    for (const name of ['a.pdf', 'b.jpg', 'c.zip']) await api('POST', `/api/v1/uploads?filename=${name}`, 'x')
    await api('PUT', '/files/me/reports/d.txt', 'x')
    for (const path of ['/', '/files/local/', '/keys', '/admin', '/docs']) {
      for (const width of [360, 1400]) {
        const { bytes, requests, shift, shifts, paint } = await visit(open, path, { width })
        assert.ok(bytes <= maxBytes, `${path} costs ${bytes} bytes`)
        assert.ok(requests <= maxRequests, `${path} costs ${requests} requests`)
        assert.ok(paint <= maxPaint, `${path} paints after ${paint} ms`)
        assert.ok(shift < maxShift, `${path} shifts at ${width}: ${shifts.join('; ')}`)
      }
    }
  },

  async 'a stranger gets it as well'(open) {
    const { bytes, requests, shift, shifts } = await visit(open, '/', { signedIn: false })
    assert.ok(bytes <= maxBytes && requests <= maxRequests)
    assert.ok(shift < maxShift, shifts.join('; '))
  },
})
