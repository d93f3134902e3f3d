// What the scripts share that drive pages: a browser, sign-in, checks. A
// script calls run() with named steps; each gets a fresh page. The first
// mistake of a step fails it, the other steps still run.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'

export { assert }
export const job = JSON.parse(process.argv[2])
const axeSource = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

// The widths at which pages are looked at, in CSS pixels.
export const widths = [320, 360, 720, 800, 1020, 1180, 1400]

// An address that leads to this machine, and that a browser trusts no more than
// any other one of plain http.
export const elsewhere = '192.0.2.1'

export async function run(steps) {
  const browser = await chromium.launch({
    executablePath: job.chromium,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', `--host-resolver-rules=MAP ${elsewhere} 127.0.0.1`],
  })
  process.once('SIGINT', () => browser.close().finally(() => process.exit(1)))
  let failed = 0
  for (const [name, step] of Object.entries(steps)) {
    const began = Date.now()
    const opened = []
    try {
      await step((options) => open(browser, opened, options))
      for (const { problems } of opened) assert.deepEqual(problems, [])
      console.log(`ok   ${name} (${Date.now() - began} ms)`)
    } catch (error) {
      failed++
      console.log(`FAIL ${name}: ${error.stack}`)
      const shot = path.join(job.shots, `failed-${name.replace(/\W+/g, '-')}`)
      for (const [i, { context, problems }] of opened.entries()) {
        console.log(`window ${i}: ${JSON.stringify(problems)}`)
        for (const [k, page] of context.pages().entries()) await page.screenshot({ path: `${shot}-${i}-${k}.png` }).catch(() => {})
      }
    }
    for (const { context } of opened) await context.close()
  }
  await browser.close()
  process.exit(failed ? 1 : 0)
}

// open makes a browser window. Whatever goes wrong in its pages, policy
// violations included, is in problems and fails the step at its end.
async function open(browser, opened, {
  signedIn = true, session = job.session, scheme = 'light', width = 1400, height = 900, javaScript = true, allow = [], base = job.base, ...more
} = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: scheme, javaScriptEnabled: javaScript, reducedMotion: 'reduce', ...more,
  })
  if (signedIn) {
    await context.addCookies([{
      name: 'upload_session', value: session, url: base, httpOnly: true, sameSite: 'Lax',
    }])
  }
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  page.on('filechooser', () => {}) // asked for early: the key that opens one can be faster
  const problems = []
  const note = (text) => { if (!allow.some((pattern) => pattern.test(text))) problems.push(text) }
  context.on('weberror', (event) => note(`error in the page: ${event.error()}`))
  context.on('console', (message) => { if (message.type() === 'error') note(`console: ${message.text()}`) })
  await context.exposeFunction('reportViolation', (text) => note(`policy: ${text}`))
  await context.addInitScript(() => addEventListener('securitypolicyviolation', (event) => {
    window.reportViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`)
  }))
  const window = { context, page, problems }
  opened.push(window)
  return window
}

// axe asks for what the accessibility rules find on a page, in both schemes or
// in the one that is named; nothing is fine.
export async function axe(page, label = page.url(), schemes = ['light', 'dark']) {
  await page.evaluate(axeSource)
  for (const colorScheme of schemes) {
    if (schemes.length > 1) await wear(page, colorScheme)
    const found = await page.evaluate(async () => {
      const { violations } = await window.axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice'],
      })
      return violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`)
    })
    assert.deepEqual(found, [], `accessibility of ${label}, ${colorScheme}`)
  }
  if (schemes.length > 1) await page.emulateMedia({ colorScheme: null })
}

// wear shows the page in a scheme.
async function wear(page, colorScheme) {
  await page.emulateMedia({ colorScheme })
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))))
}

// tabTo presses Tab, as somebody without a mouse does, until the focus is on
// what is meant.
export async function tabTo(page, selector) {
  for (let i = 0; i < 120; i++) {
    await page.keyboard.press('Tab')
    if (await page.evaluate((selector) => document.activeElement.matches(selector), selector)) return
  }
  assert.fail(`no Tab leads to ${selector} on ${page.url()}`)
}

// focusOn waits for the focus to come to what is meant.
export const focusOn = (page, selector) =>
  page.waitForFunction((selector) => document.activeElement.matches(selector), selector)

// fingers asks that what is touched is large enough: 44 px high for buttons and
// fields, 24 px for the rest; only links in a text may be smaller.
async function fingers(page) {
  const small = await page.evaluate(() => [...document.querySelectorAll('a, button, input, select, textarea, summary')]
    .filter((e) => e.type !== 'hidden' && e.checkVisibility({ visibilityProperty: true }) && !e.closest('.sr, .skip, [inert]') &&
      getComputedStyle(e).display !== 'inline')
    .map((e) => {
      const target = e.matches('[type=checkbox], [type=radio]') ? e.closest('label') : e
      const { width, height } = target.getBoundingClientRect()
      return { e, width, height, least: e.matches('.btn, .ib, .in, select') ? 44 : 24 }
    })
    .filter(({ width, height, least }) => height < least - 0.5 || width < 24)
    .map(({ e, width, height }) => `${e.tagName}.${e.className} “${e.textContent.trim()}” of ${e.parentElement.className} is ${width} x ${height}`))
  assert.deepEqual(small, [], `${page.url()} has targets that are too small`)
}

// narrow asks that nothing has to be scrolled sideways at any width.
export async function narrow(page) {
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 })
    const wide = await page.evaluate(async () => {
      // The new width takes some frames; what is too wide stays too wide.
      const page = document.documentElement
      for (let frame = 0; frame < 60; frame++) {
        await new Promise((drawn) => requestAnimationFrame(drawn))
        if (frame > 1 && page.scrollWidth <= page.clientWidth) return []
      }
      const { clientWidth } = page
      return [...document.querySelectorAll('body *')]
        .filter((e) => e.getBoundingClientRect().right > clientWidth)
        .map((e) => `${e.tagName}#${e.id}.${e.className.baseVal ?? e.className} ends at ${e.getBoundingClientRect().right}`)
    })
    assert.deepEqual(wide, [], `${page.url()} has to be scrolled sideways at ${width}`)
    if (width === 360) await fingers(page)
  }
}

// shot keeps a picture of the page. The browser's driver leaves style attributes
// behind, which the policy refuses to copy when a part of the page is swapped.
export async function shot(page, name) {
  await page.screenshot({ path: path.join(job.shots, `${name}.png`) })
  await page.evaluate(() => document.querySelectorAll('[style]').forEach((e) => e.removeAttribute('style')))
}

// everyLook is what is asked of each page, of the one that is open: that it
// fits every width, and what axe finds in both schemes at some of them, with
// pictures. With at, that address is opened first, and anew at each width.
export async function everyLook(page, name, { at, widths = [360, 800, 1400] } = {}) {
  if (at) await page.goto(at)
  await narrow(page)
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 })
    if (at) await page.reload()
    for (const scheme of ['light', 'dark']) {
      await wear(page, scheme)
      await axe(page, `${name} ${width}`, [scheme])
      await shot(page, `${name}-${width}-${scheme}`)
    }
  }
  await page.emulateMedia({ colorScheme: null })
}

// api makes a request with the key.
export async function api(method, at, body, headers = {}) {
  const res = await fetch(job.base + at, { method, body, headers: { authorization: `Bearer ${job.key}`, ...headers } })
  if (!res.ok) throw new Error(`${method} ${at}: ${res.status} ${await res.text()}`)
  return res
}

// file makes a file on disk and returns its path.
export function file(name, content) {
  const at = path.join(job.scratch ?? os.tmpdir(), name)
  fs.mkdirSync(path.dirname(at), { recursive: true })
  fs.writeFileSync(at, content)
  return at
}
