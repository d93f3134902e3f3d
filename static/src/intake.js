// Where files come in: chosen, dropped or pasted. The queue that takes them is
// a bundle of its own, loaded when there is time. Whoever is faster waits for
// it; if it does not come at all, the form is sent as without scripts.
import { say } from './toasts.js'
import * as text from '../../views/text/script.json'

const $ = (selector) => document.querySelector(selector)
const page = document.documentElement

let bundle
function queue() {
  bundle ??= import(document.body.dataset.uploader).then((module) => {
    page.dataset.queue = 'on'
    return module
  }, (error) => {
    bundle = undefined
    page.dataset.queue = 'off'
    throw error
  })
  return bundle
}

page.dataset.queue = 'on' // until it fails
const wanted = () => $('#drop, [data-needs-queue]') && queue().catch(() => {})
if ($('#drop, [data-needs-queue]')) ('requestIdleCallback' in window ? requestIdleCallback : setTimeout)(wanted)
else document.addEventListener('htmx:afterSettle', wanted)

// take hands files over, each with its path below the folder that was chosen.
async function take(files) {
  if (!files.length) return
  const module = await queue().catch(() => null)
  if (module) return module.add(files)
  const data = new DataTransfer()
  for (const { file } of files) data.items.add(file)
  if ($('#file')) $('#file').files = data.files
  say(text.no_queue, { bad: true })
}

const plain = (files) => [...files].map((file) => ({ file, path: file.webkitRelativePath || file.name }))

function chosen(input) {
  const files = plain(input.files)
  input.value = ''
  take(files)
}
document.addEventListener('change', ({ target }) => target.matches('#file, #file-folder') && chosen(target))
for (const input of document.querySelectorAll('#file, #file-folder')) chosen(input) // before this script ran

// Enter would send the form, which has a button for those without scripts.
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.ctrlKey || event.metaKey || !event.target.matches('#file')) return
  event.preventDefault()
  event.target.click()
})

// What is dropped may be folders, which only the entries tell.
async function walk(entry, into) {
  if (entry.isFile) {
    const file = await new Promise((ok, no) => entry.file(ok, no))
    into.push({ file, path: entry.fullPath.replace(/^\//, '') })
    return
  }
  const reader = entry.createReader()
  for (;;) {
    const batch = await new Promise((ok, no) => reader.readEntries(ok, no))
    if (!batch.length) return
    for (const child of batch) await walk(child, into)
  }
}

const hasFiles = (event) => event.dataTransfer?.types.includes('Files')
let depth = 0
function over(event, on) {
  if (!$('#drop') || !hasFiles(event)) return
  depth = on ? depth + 1 : Math.max(0, depth - 1)
  $('#drop').classList.toggle('over', depth > 0)
}
addEventListener('dragenter', (event) => over(event, true))
addEventListener('dragleave', (event) => over(event, false))
addEventListener('dragover', (event) => hasFiles(event) && $('#drop') && event.preventDefault())
addEventListener('drop', async (event) => {
  if (!$('#drop') || !hasFiles(event)) return
  event.preventDefault()
  depth = 0
  $('#drop').classList.remove('over')
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)
  if (!entries.some((entry) => entry.isDirectory)) return take(plain(event.dataTransfer.files))
  const files = []
  try {
    for (const entry of entries) await walk(entry, files)
  } catch {
    say(text.unreadable, { bad: true })
  }
  take(files)
})
addEventListener('paste', (event) => {
  if (!$('#drop') || !event.clipboardData.files.length) return
  const at = new Date().toISOString().slice(0, 19).replace('T', '-').replaceAll(':', '')
  take(plain([...event.clipboardData.files].map((file, i) => new File([file],
    `pasted-${at}${i ? `-${i + 1}` : ''}${/\.[^.]+$/.exec(file.name)?.[0] ?? ''}`, { type: file.type, lastModified: file.lastModified }))))
})
