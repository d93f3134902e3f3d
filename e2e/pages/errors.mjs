// The pages of what went wrong. The server takes files of 1 MB.
import fs from 'node:fs'
import path from 'node:path'
import { run, assert, everyLook, api, file, job } from './lib.mjs'

// sends makes the browser send the form by itself, with a file, and looks at
// the page that it gets.
async function sends(open, status, name, options) {
  const { page } = await open({ allow: [/ERR_FAILED/, new RegExp(status)], ...options })
  await page.route('**/app.*.js', (route) => route.abort())
  await page.goto((options?.base ?? job.base) + '/')
  await page.setInputFiles('#file', file('two.bin', Buffer.alloc(2_000_000)))
  const [answer] = await Promise.all([
    page.waitForNavigation(), page.evaluate(() => document.querySelector('form[action="/waiting"]').submit()),
  ])
  assert.equal(answer.status(), status)
  await everyLook(page, name)
  return page.textContent('main')
}

await run({
  async 'a page that is not there says so'(open) {
    const { page } = await open({ allow: [/404/] })
    assert.equal((await page.goto(job.base + '/nothing')).status(), 404)
    assert.equal(await page.textContent('h1'), 'There is nothing here')
    await everyLook(page, 'not-found')
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

  async 'what was discarded is gone'(open) {
    const { token } = await (await api('POST', '/api/v1/uploads?filename=gone.txt', 'gone')).json()
    await api('DELETE', `/api/v1/uploads/${token}`)
    const { page } = await open({ allow: [/410/] })
    assert.equal((await page.goto(`${job.base}/api/v1/uploads/${token}/content`)).status(), 410)
    assert.match(await page.textContent('main'), /Gone.*it was deleted/s)
    await everyLook(page, 'gone')
  },

  async 'what is too large is refused'(open) {
    assert.match(await sends(open, 413, 'too-large'), /Too large\s*The limit is 1.MB\./)
  },

  async 'what the disk does not give back is our fault'(open) {
    const { id } = await (await api('PUT', '/files/me/broken/a.txt', 'lost')).json()
    const shown = path.join(job.data, 'local/broken/a.txt')
    fs.chmodSync(shown, 0o600)
    fs.truncateSync(shown) // a name of the very bytes that are stored
    const { page } = await open({ allow: [/500/] })
    assert.equal((await page.goto(`${job.base}/files/local/broken/?open=${id}`)).status(), 500)
    assert.match(await page.textContent('main'), /Something went wrong.*Nothing was lost/s)
    await everyLook(page, 'fault')
    await page.click('main .btn')
    await page.waitForSelector('#drop')
  },

  async 'a disk that is full takes nothing'(open) {
    const { page } = await open(job.full)
    await page.goto(job.full.base + '/')
    assert.match(await page.textContent('#full'), /The server is nearly out of space\. Your files are safe\./)
    assert.ok(await page.evaluate(() => document.getElementById('drop').inert))
    await everyLook(page, 'disk-full')
    assert.match(await sends(open, 507, 'out-of-space', job.full), /out of space/)
  },
})
