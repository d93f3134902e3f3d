// Pages that only tell something.
import { run, assert, narrow, looks, job } from './lib.mjs'

await run({
  async 'a command is copied'(open) {
    const { page } = await open({ permissions: ['clipboard-read', 'clipboard-write'] })
    await page.goto(job.base + '/docs')
    await page.click('[data-copy="#x-put"]')
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^curl -T report\.pdf .*\/files\/me\/reports\/$/s)
    await narrow(page)
  },

  async 'they look right, and everybody can use them'(open) {
    await looks(open, 'docs', (page) => page.goto(job.base + '/docs'))
    await looks(open, 'errors', (page) => page.goto(job.base + '/docs/errors'))
  },
})
