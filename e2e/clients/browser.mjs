// Drives the page in Chromium as the job in the first argument says, and
// prints what came of it: one JSON object a line.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { chromium } from 'playwright-core'

const job = JSON.parse(process.argv[2])
const say = (event, more) => fs.writeSync(1, JSON.stringify({ event, ...more }) + '\n')

const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'chromium-'))
const context = await chromium.launchPersistentContext(profile, {
  executablePath: job.chromium,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
})
const page = await context.newPage()
page.setDefaultTimeout(60_000)
page.on('pageerror', (error) => say('pageerror', { message: String(error) }))
const open = () => page.goto(job.page)
const choose = () => page.setInputFiles('#file', job.file)

const scenarios = {
  async tus() {
    await open()
    await choose()
    return page.evaluate((j) => window.tusUpload(j), job)
  },
  async tusReload() {
    await open()
    await choose()
    const first = await page.evaluate((j) => window.tusUpload(j), job)
    await page.reload()
    await choose()
    const second = await page.evaluate((j) => window.tusUpload({ ...j, stopAt: 0 }), job)
    return { ...second, first: first.url, stopped: first.stopped }
  },
  async uppy() {
    await open()
    await page.evaluate((j) => window.uppyOpen(j), job)
    await page.setInputFiles('.uppy-Dashboard-input >> nth=0', job.file)
    await page.click('.uppy-StatusBar-actionBtn--upload')
    return page.evaluate(() => window.uppyDone)
  },
  async uppyCancel() {
    await open()
    const begun = page.waitForResponse((r) => r.request().method() === 'PATCH' && r.status() === 204)
    const ended = page.waitForResponse((r) => r.request().method() === 'DELETE' && r.status() === 204)
    await page.evaluate((j) => window.uppyOpen(j), job)
    await page.setInputFiles('.uppy-Dashboard-input >> nth=0', job.file)
    await page.click('.uppy-StatusBar-actionBtn--upload')
    const url = (await begun).url()
    await page.click('.uppy-StatusBar-actions [data-cy="cancel"]')
    await ended
    return { url }
  },
  async pond() {
    await open()
    await page.evaluate((j) => window.pondOpen(j), job)
    await page.setInputFiles('input.filepond--browser', job.file)
    await page.waitForFunction(() => window.pondState().values.length > 0 || window.pondState().errors.length > 0)
    const processed = await page.evaluate(() => window.pondState())
    if (!job.revert) return { token: processed.values[0], errors: processed.errors }
    await page.click('.filepond--action-revert-item-processing')
    await page.waitForFunction(() => window.pondState().values.length === 0)
    const reverted = await page.evaluate(() => window.pondState())
    return { token: processed.values[0], left: reverted.values, errors: reverted.errors }
  },
  async pondOpenWith() {
    await open()
    await page.evaluate((j) => window.pondOpen(j), job)
    await page.waitForFunction((n) => {
      const s = window.pondState()
      return s.errors.length > 0 || (s.files.length === n && s.files.every((f) => f.size > 0))
    }, job.files.length)
    const state = await page.evaluate(() => window.pondState())
    return { names: state.files.map((f) => f.name), sizes: state.files.map((f) => f.size), errors: state.errors }
  },
}

try {
  say('result', await scenarios[job.scenario]())
} catch (error) {
  const state = await page.evaluate(() => window.pond && JSON.stringify(window.pondState())).catch(String)
  say('error', { message: `${error} ${state ?? ''}` })
  process.exitCode = 1
}
await context.close()
fs.rmSync(profile, { recursive: true, force: true })
