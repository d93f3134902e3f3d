// Pages that only tell something.
import { run, assert, everyLook, shot, job } from './lib.mjs'

await run({
  async 'a command is copied'(open) {
    const { page } = await open({ permissions: ['clipboard-read', 'clipboard-write'] })
    await page.goto(job.base + '/docs')
    await page.click('[data-copy="#x-put"]')
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^curl -T report\.pdf .*\/files\/me\/reports\/$/s)
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

  async 'they look right, and everybody can use them'(open) {
    const { page } = await open()
    await everyLook(page, 'docs', { at: job.base + '/docs' })
    await everyLook(page, 'errors', { at: job.base + '/docs/errors' })
    await everyLook(page, 'reference', { at: job.base + '/docs/api', widths: [1400] }) // it is long
    await page.setViewportSize({ width: 360, height: 900 })
    await shot(page, 'reference-360')
  },
})
