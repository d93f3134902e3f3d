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

  async 'a page that is not there says so'(open) {
    const { page } = await open({ allow: [/404/] })
    assert.equal((await page.goto(job.base + '/nothing')).status(), 404)
    assert.equal(await page.textContent('h1'), 'There is nothing here')
    await page.goto(job.base + '/')
    await page.evaluate(() => {
      const link = document.createElement('a')
      link.href = '/nothing'
      document.querySelector('main').prepend(link)
      window.htmx.process(document.querySelector('main'))
      link.click()
    })
    await page.waitForSelector('h1:has-text("There is nothing here")')
  },

  async 'they look right, and everybody can use them'(open) {
    await looks(open, 'docs', (page) => page.goto(job.base + '/docs'))
    await looks(open, 'errors', (page) => page.goto(job.base + '/docs/errors'))
    const mistaken = (options) => open({ ...options, allow: [/404/] })
    await looks(mistaken, 'not-found', (page) => page.goto(job.base + '/nothing'))
  },
})
