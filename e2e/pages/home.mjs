// The page with the drop zone and the form.
import { run, assert, axe, narrow, looks, shot, api, job } from './lib.mjs'

const upload = async (name, text = 'content') =>
  (await (await api('POST', `/api/v1/uploads?filename=${encodeURIComponent(name)}`, text)).json()).token

await run({
  async 'what waits is submitted without a new page'(open) {
    await upload('one.txt')
    await upload('two.txt')
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.evaluate(() => { window.still = true })
    assert.equal(await page.textContent('#submit [data-count]'), 'Submit 2 files')
    await page.uncheck('li:has-text("one") input[name=token]', { force: true })
    assert.equal(await page.textContent('#submit [data-count]'), 'Submit 1 file')
    await page.fill('#folder', 'reports')
    await page.fill('#description', 'The second')
    await page.fill('#tags', 'a, b')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#toasts .toast')
    assert.match(await page.textContent('#toasts'), /Saved 1 file to local\/reports\./)
    assert.ok(await page.evaluate(() => window.still), 'the page was loaded anew')
    const { files } = await (await api('GET', '/api/v1/files?prefix=reports/')).json()
    assert.deepEqual(files.map((f) => [f.path, f.tags, f.metadata.description]), [['reports/two.txt', ['a', 'b'], 'The second']])
    assert.equal(await page.locator('#waiting-list > li').count(), 1)
  },

  async 'a name that is taken is asked about, and nothing is lost'(open) {
    await api('PUT', '/files/me/taken/three.txt', 'old')
    await upload('three.txt', 'new')
    const { page } = await open({ allow: [/409/] })
    await page.goto(job.base + '/')
    await page.fill('#folder', 'taken')
    await page.fill('#description', 'kept words')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#submit .note')
    assert.match(await page.textContent('#submit .note'), /1 name is already taken in taken.*three\.txt/s)
    assert.equal(await page.inputValue('#description'), 'kept words')
    await axe(page, 'a taken name')
    await shot(page, 'home-taken')
    await page.click('button:has-text("Keep both") >> nth=0')
    await page.waitForSelector('#toasts .toast')
    const { files } = await (await api('GET', '/api/v1/files?prefix=taken/')).json()
    assert.deepEqual(files.map((f) => f.name).sort(), ['one.txt', 'three (1).txt', 'three.txt'])
  },

  async 'a folder that cannot be keeps the tokens in the form'(open) {
    const token = await upload('four.txt')
    const { page } = await open({ allow: [/400/] })
    await page.goto(job.base + '/')
    await page.fill('#folder', 'a/../b')
    await page.click('#submit [data-count]')
    await page.waitForSelector('#submit .note')
    assert.ok(await page.isChecked(`input[value="${token}"]`))
    assert.equal(await page.inputValue('#folder'), 'a/../b')
    await page.click(`li[data-token="${token}"] .acts button`)
    await page.waitForSelector(`li[data-token="${token}"]`, { state: 'detached' })
  },

  async 'everything works without scripts'(open) {
    const { page } = await open({ javaScript: false })
    await page.goto(job.base + '/')
    await page.setInputFiles('#file', { name: 'plain.txt', mimeType: 'text/plain', buffer: Buffer.from('plain') })
    await page.click('noscript button, button:has-text("Upload")')
    await page.waitForSelector('#waiting-list li:has-text("plain")')
    await page.fill('#folder', 'plain')
    await page.click('#submit [data-count]')
    await page.waitForSelector('.toast:has-text("Saved")')
    await page.setInputFiles('#file', { name: 'away.txt', mimeType: 'text/plain', buffer: Buffer.from('away') })
    await page.click('noscript button, button:has-text("Upload")')
    await page.click('li:has-text("away") .acts button')
    await page.waitForSelector('.toast:has-text("Discarded")')
    assert.equal(await page.locator('li[data-token]:has-text("away")').count(), 0)
  },

  async 'the theme is kept'(open) {
    const { page } = await open()
    await page.goto(job.base + '/')
    await page.click('[data-theme-form] button')
    await page.reload()
    assert.equal(await page.getAttribute('html', 'data-theme'), 'light')
  },

  async 'it fits every width'(open) {
    await upload('a-file-with-a-very-long-name-that-goes-on-and-on-and-would-not-fit-anywhere.tar.gz')
    const { page } = await open()
    await page.goto(job.base + '/')
    await narrow(page)
  },

  async 'it looks right, and everybody can use it'(open) {
    await looks(open, 'home', (page) => page.goto(job.base + '/'))
  },
})
