// A phone, and letters of twice the size.
import { run, assert, shot, api, file, job } from './lib.mjs'

const long = 'a-file-with-a-very-long-name-that-goes-on-and-on-and-would-not-fit-anywhere.tar.gz'

// unreadable is what has to be scrolled sideways, is cut off, or lies upon
// something else. What ends with "…" tells the rest as its title; commands and
// the tables of the operator scroll for themselves.
const unreadable = (page) => page.evaluate(async () => {
  for (let frame = 0; frame < 10; frame++) await new Promise((drawn) => requestAnimationFrame(drawn))
  const found = []
  const { scrollWidth, clientWidth } = document.documentElement
  if (scrollWidth > clientWidth) found.push(`the page is ${scrollWidth} wide, the window ${clientWidth}`)
  const label = (e) => `${e.tagName}.${e.className.baseVal ?? e.className} “${e.textContent.trim().slice(0, 40)}”`
  const clipped = (e) => e && (getComputedStyle(e).clipPath === 'inset(50%)' || clipped(e.parentElement)) // for readers of the screen
  const seen = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.closest('.skip, [inert], svg') && !clipped(e)
  for (const e of document.querySelectorAll('body *')) {
    if (!seen(e)) continue
    const style = getComputedStyle(e)
    const high = /hidden|clip/.test(style.overflowY) || e.matches('.btn, .chip, select, th:not(.c-ck)')
    const wide = style.overflowX !== 'visible' ? !e.matches('pre, .wide, .in') : high
    const over = Math.max(wide && e.scrollWidth - e.clientWidth, high && e.scrollHeight - e.clientHeight)
    if (over > 2 && e.clientWidth && !(style.textOverflow === 'ellipsis' && e.closest('[title]'))) found.push(`${label(e)} is cut off by ${over}`)
  }
  if (document.querySelector('.skip').getBoundingClientRect().bottom > 0) found.push('the hidden link is seen')
  // Where each line of text is, as far as what is around it lets it be seen.
  const floats = (e) => e.closest('.top, .nav, .jump, .tray, .toasts, .selbar, .pane')
  const lines = []
  for (const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); walk.nextNode();) {
    const e = walk.currentNode.parentElement
    if (!walk.currentNode.data.trim() || !seen(e)) continue
    const range = document.createRange()
    range.selectNodeContents(walk.currentNode)
    for (let { left, right, top, bottom } of range.getClientRects()) {
      for (let around = e; around; around = around.parentElement) {
        if (getComputedStyle(around).overflowX === 'visible') continue
        const box = around.getBoundingClientRect()
        left = Math.max(left, box.left)
        right = Math.min(right, box.right)
      }
      if (right > left) lines.push({ e, left, right, top, bottom })
    }
  }
  for (const [i, a] of lines.entries()) {
    for (const b of lines.slice(i + 1)) {
      if (a.e === b.e || floats(a.e) !== floats(b.e)) continue
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left)
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
      if (wide > 2 && high > 8) found.push(`${label(a.e)} and ${label(b.e)} lie on each other`)
    }
  }
  return found
})

await run({
  async 'a phone uploads, submits and takes back'(open) {
    const { page } = await open({ width: 360, height: 740, isMobile: true, hasTouch: true, deviceScaleFactor: 3 })
    await page.goto(job.base + '/')
    await page.waitForLoadState('networkidle')
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.tap('label[for=file]')])
    await chooser.setFiles([file('phone/one.jpg', Buffer.alloc(3e6, 1)), file('phone/two.txt', 'two')])
    for (const name of ['one.jpg', 'two.txt']) await page.waitForSelector(`#waiting-list [title="${name}"]`)
    await page.tap('#jump .btn')
    await page.waitForFunction(() => {
      const { top, bottom } = document.querySelector('#folder').getBoundingClientRect()
      return top >= 0 && bottom <= innerHeight
    })
    await page.tap('#folder')
    await page.keyboard.type('phone')
    await page.tap('.seg label:has-text("Keep both")')
    await page.tap('#submit [data-count]')
    await page.waitForSelector('#toasts .toast:has-text("Saved 2 files")')
    await page.tap('.nav [data-nav=files]')
    await page.tap('#rows a:has-text("phone")')
    await page.tap('#rows a:has-text("two.txt")')
    await page.waitForSelector('#details pre:has-text("two")')
    await page.tap('[data-close-details]')
    await page.waitForSelector('#details', { state: 'hidden' })
    await page.tap('tr:has([title="two.txt"]) .ckw')
    await page.tap('.selbar button[formaction="/actions/delete"]')
    await page.waitForSelector('[title="two.txt"]', { state: 'detached' })
    await page.tap('.toast:has-text("Deleted 1 file.") [data-undo]')
    await page.waitForSelector('#rows [title="two.txt"]')
    const { files } = await (await api('GET', '/api/v1/files?prefix=phone/')).json()
    assert.deepEqual(files.map((f) => [f.path, f.size]), [['phone/one.jpg', 3e6], ['phone/two.txt', 3]])
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360)
  },

  async 'letters of twice the size'(open) {
    await api('POST', `/api/v1/uploads?filename=${long}`, 'x')
    await api('PUT', '/files/me/large/report (final).txt', 'the text')
    await api('PUT', '/files/me/large/sub/deep.txt', 'x')
    const { id } = await (await api('PUT', `/files/me/large/${long}`, 'x')).json()
    const found = []
    for (const width of [1280, 640]) {
      const { page, context } = await open({ width })
      const cdp = await context.newCDPSession(page)
      await cdp.send('Page.enable')
      await cdp.send('Page.setFontSizes', { fontSizes: { standard: 32, fixed: 26 } })
      for (const [name, path] of Object.entries({
        home: '/', files: '/files/local/large/', details: `/files/local/large/?open=${id}`, keys: '/keys', admin: '/admin',
        owner: '/admin/owners/local', docs: '/docs',
      })) {
        await page.goto(job.base + path)
        assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).fontSize), '32px')
        await shot(page, `large-${name}-${width}`)
        found.push(...(await unreadable(page)).map((what) => `${path} at ${width}: ${what}`))
      }
    }
    assert.deepEqual(found, [])
  },
})
