// Pages that only tell something.
import { run, assert, narrow, looks, shot, job } from './lib.mjs'

await run({
  async 'a command is copied'(open) {
    const { page } = await open({ permissions: ['clipboard-read', 'clipboard-write'] })
    await page.goto(job.base + '/docs')
    await page.click('[data-copy="#x-put"]')
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^curl -T report\.pdf .*\/files\/me\/reports\/$/s)
    await narrow(page)
  },

  async 'the reference leads to each request'(open) {
    const { page } = await open({ javaScript: false, signedIn: false })
    await page.goto(job.base + '/docs')
    await page.click('a:has-text("API reference")')
    await page.click('.toc a:has-text("PUT /files/{slug}/{path}")')
    await page.waitForURL(/#putFile$/)
    const { y } = await page.locator('#putFile').boundingBox()
    assert.ok(y >= 56 && y < 400, `the heading is at ${y}`)
    assert.ok((await page.textContent('.op:has(#putFile) pre')).includes(job.base + '/files/me/docs/README.md'))
  },

  async 'the reference fits every width'(open) {
    const { page } = await open()
    await page.goto(job.base + '/docs/api')
    await narrow(page)
    await page.setViewportSize({ width: 360, height: 900 })
    await shot(page, 'reference-360')
  },

  async 'they look right, and everybody can use them'(open) {
    await looks(open, 'docs', (page) => page.goto(job.base + '/docs'))
    await looks(open, 'reference', (page) => page.goto(job.base + '/docs/api'), [1400]) // it is long
    await looks(open, 'errors', (page) => page.goto(job.base + '/docs/errors'))
  },
})
