// An account of 50 MB, 5 files, and 30 MB for each of them: limits are told
// before they are hit, and by the server where a page cannot know.
import { run, assert, axe, narrow, shot, api, file, job } from './lib.mjs'

const MB = 1_000_000
const row = (name) => `#queue > li:has([title="${name}"])`
const waits = (page, name) => page.waitForSelector(`#waiting-list > li:has([title="${name}"])`, { timeout: 60_000 })
const choose = (page, name, size) => page.setInputFiles('#file', file(name, Buffer.alloc(size, 1)))
const noRoom = 'Your storage has no room for this file. Delete files or ask for more.'

async function home(open, options) {
  const { page } = await open(options)
  await page.goto(job.base + '/')
  await page.waitForLoadState('networkidle')
  return page
}

await run({
  async 'an account is filled, and goes on when something is deleted'(open) {
    const page = await home(open, { allow: [/413/] })
    let begun = 0
    page.on('request', (request) => { begun += request.method() === 'POST' && request.url().includes('/tus/') })
    await choose(page, 'large.bin', 31 * MB)
    await page.waitForSelector(`${row('large.bin')}[data-state=rejected] :text("The limit is 30")`)
    assert.equal(begun, 0, 'it was sent')
    await choose(page, 'first.bin', 28 * MB)
    await waits(page, 'first.bin')
    await choose(page, 'second.bin', 25 * MB)
    await page.waitForSelector(`${row('second.bin')}[data-state=rejected] :text("${noRoom}")`)
    assert.equal(begun, 1, 'it was sent')

    // Two at once are more than there is, though each of them would fit.
    await page.setInputFiles('#file', ['twin-a.bin', 'twin-b.bin'].map((name) => file(name, Buffer.alloc(12 * MB, 1))))
    await waits(page, 'twin-a.bin')
    await page.waitForSelector(`${row('twin-b.bin')}[data-state=rejected]`)
    assert.equal(begun, 2, 'both were sent')

    // What came from elsewhere meanwhile only the server knows.
    await api('PUT', '/files/me/elsewhere.bin', Buffer.alloc(8.5 * MB))
    await choose(page, 'late.bin', 5 * MB)
    const answer = await page.waitForResponse((response) => response.status() === 413)
    assert.equal((await answer.json()).code, 'quota_exceeded')
    await page.waitForSelector(`${row('late.bin')}[data-state=failed] .fix:has-text("${noRoom}")`)
    await axe(page, 'a file that does not fit')
    assert.equal(await page.locator('#full .note').count(), 0, 'it is called full before it is')

    // Near the limit is not at the limit.
    const near = await home(open)
    assert.equal(await near.getAttribute('#storage [role=meter]', 'aria-valuenow'), '97')
    assert.doesNotMatch(await near.textContent('main'), /full/)
    await choose(near, 'rest.bin', 1.5 * MB)
    await near.waitForSelector('#full :text("Your storage is full.")')
    assert.ok(await near.evaluate(() => document.getElementById('drop').inert))
    await axe(near, 'a full account')
    await narrow(near)
    for (const width of [360, 1400]) {
      await near.setViewportSize({ width, height: 900 })
      await shot(near, `quota-full-${width}`)
    }

    // With something deleted there is room again.
    await near.click('li:has([title="first.bin"]) .acts button')
    await near.waitForSelector('li:has([title="first.bin"])', { state: 'detached' })
    await api('DELETE', '/files/me/elsewhere.bin')
    await page.click(`${row('late.bin')} .fix [data-act=retry]`)
    await waits(page, 'late.bin')
    await near.reload()
    assert.ok(!(await near.evaluate(() => document.getElementById('drop').inert)))
  },

  async 'as many files as there may be are told'(open) {
    const page = await home(open)
    for (let n = 0; (await page.locator('#full .note').count()) === 0; n++) {
      assert.ok(n < 5, 'no limit')
      await choose(page, `n${n}.txt`, 1)
      await waits(page, `n${n}.txt`)
    }
    assert.match(await page.textContent('#full'), /as many files as you may have/)
    assert.match(await page.textContent('#storage'), /5 of 5 files/)
    await page.click('button:has-text("Discard all")')
    await page.waitForSelector('#full .note', { state: 'detached' })
    assert.ok(!(await page.evaluate(() => document.getElementById('drop').inert)))
  },

  async 'a page that is offline says so'(open) {
    const page = await home(open, { allow: [/ERR_/] })
    await page.context().setOffline(true)
    await page.waitForSelector('#offline:not([hidden])')
    await shot(page, 'home-offline')
    await page.context().setOffline(false)
    await page.waitForSelector('#offline', { state: 'hidden' })
  },
})
