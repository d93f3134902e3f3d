// The queue of uploads in the browser. It lives outside the pages between
// which a person moves: only its rows are drawn into whatever page is there.
//
// What is on its way is remembered in localStorage under the account, so that
// after a reload the same file goes on where it stopped. A lock tells other
// tabs that this one is at it.
import { Upload } from 'tus-js-client'
import * as text from '../../views/text/script.json'
import { fill } from './text.js'
import { bytes, duration } from './format.js'
import { draw, row, summary } from './rows.js'

const atOnce = 3
const chunk = 32 << 20 // a proxy in front may bound a body
const small = 1 << 20 // goes along with the request that creates the upload
const waits = [0, 1, 3, 5, 10, 20, 30].map((s) => s * 1000)
const undoable = 50e6
const touchEvery = 5 * 60_000

const items = []
const { owner } = document.body.dataset
const prefix = `upload:${owner}:`
const headers = { 'Upload-Owner': owner } // nobody else's, if another account signs in meanwhile
const active = (item) => ['starting', 'uploading', 'finishing'].includes(item.state)
const unfinished = (item) => active(item) || ['queued', 'paused', 'retrying', 'offline', 'blocked'].includes(item.state)

const fingerprint = ({ size, type, lastModified }, path) => [path, size, type, lastModified].join('|')
const remember = (item) => {
  const { name, size, type, lastModified } = item.file
  localStorage.setItem(prefix + item.id, JSON.stringify({ url: item.url, path: item.path, name, size, type, lastModified }))
}
const forget = (item) => localStorage.removeItem(prefix + item.id)
// Whoever does not go on with an upload leaves nothing of it on the server.
// One that is not there any more need not be told.
function end(item) {
  forget(item)
  if (item.url) return Upload.terminate(item.url, { headers, retryDelays: null }).catch(() => {})
}

// Law: set() is the only way from one state to another.
function set(item, state, more = {}) {
  Object.assign(item, { error: '', action: '', elsewhere: false }, more, { state })
  if (!unfinished(item)) release(item)
  draw(item)
  schedule()
}

// schedule starts what may start, smallest first as they were added together.
function schedule() {
  let running = items.filter(active).length
  for (const item of items) {
    if (running >= atOnce) break
    if (item.state === 'queued') {
      running++
      start(item)
    }
  }
  paint()
}

async function start(item) {
  set(item, 'starting')
  if (!item.lock && !(await claim(item))) {
    return set(item, 'failed', { error: text.other_tab, action: 'retry', elsewhere: true })
  }
  if (item.state !== 'starting') return // paused or cancelled meanwhile
  item.upload = new Upload(item.file, {
    // With both, it would begin anew whatever is answered about what there is.
    ...(item.url ? { uploadUrl: item.url } : { endpoint: item.endpoint }),
    chunkSize: chunk,
    uploadDataDuringCreation: item.file.size <= small,
    headers,
    retryDelays: null, // failed() decides
    storeFingerprintForResuming: false, // remember() does
    metadata: { filename: item.file.name, filetype: item.file.type, ...(item.path.includes('/') && { relativePath: item.path }) },
    onUploadUrlAvailable() {
      item.url = item.upload.url
      remember(item)
    },
    onProgress: (loaded) => progress(item, loaded),
    onAfterResponse(_, response) { // what was acknowledged counts, not what was sent
      const acknowledged = Number(response.getHeader('Upload-Offset'))
      if (acknowledged > item.acknowledged) item.tries = 0
      item.acknowledged = Math.max(item.acknowledged, acknowledged)
    },
    onSuccess() {
      item.url = item.upload.url
      done(item)
    },
    onError: (error) => failed(item, error),
  })
  item.upload.start()
}

const say = (detail) => document.dispatchEvent(new CustomEvent('toast', { detail }))

// claim takes the lock of a file for as long as its upload is unfinished. A
// browser has locks only for https and for this machine; without them, who
// comes last goes on with an upload.
function claim(item) {
  if (!navigator.locks) return Promise.resolve(true)
  return new Promise((taken) => {
    navigator.locks.request(prefix + item.id, { ifAvailable: true }, (lock) => {
      if (!lock) return taken(false)
      return new Promise((free) => {
        item.lock = free
        taken(true)
      })
    })
  })
}
function release(item) {
  item.lock?.()
  item.lock = undefined
}

function progress(item, loaded) {
  const now = performance.now()
  item.loaded = loaded
  item.samples = [...item.samples.filter(([at]) => now - at < 5000), [now, loaded]]
  const [[at, before]] = item.samples
  item.speed = now - at > 500 ? (loaded - before) / ((now - at) / 1000) : 0
  if (item.state !== 'uploading' && item.state !== 'finishing') set(item, 'uploading')
  if (loaded === item.file.size && item.state === 'uploading') set(item, 'finishing')
  paint()
}

function done(item) {
  forget(item)
  item.token = item.url.split('/').pop()
  set(item, 'ready', { loaded: item.file.size })
  tell(fill(text.live_uploaded, item.file.name))
  document.body.dispatchEvent(new CustomEvent('waiting-changed', { bubbles: true }))
  if (!document.getElementById('waiting-list')) remove(item)
  if (!items.some(unfinished)) {
    const lost = items.filter((i) => i.state === 'failed').length
    tell(lost ? fill(text.live_all_but, lost) : text.live_all)
  }
}

// failed decides what an error means: wait and go on, ask a person, or give up.
async function failed(item, error) {
  const response = error.originalResponse
  const status = response?.getStatus() ?? 0
  const after = Number(response?.getHeader('Retry-After')) * 1000 || 0
  if (status === 0 && !navigator.onLine) return set(item, 'offline')
  if (status === 0 && !(await readable(item.file))) {
    return set(item, 'failed', { error: text.changed, action: 'again' })
  }
  if (!unfinished(item) || item.state === 'paused') return
  if (status === 401) {
    set(item, 'blocked')
    return document.body.dispatchEvent(new CustomEvent('session-expired', { bubbles: true }))
  }
  if ((status === 404 || status === 410) && item.url && !item.anew) {
    forget(item)
    item.anew = true
    item.url = undefined
    item.loaded = item.acknowledged = item.counted = 0
    return set(item, 'queued')
  }
  if (status === 0 || [409, 423, 429].includes(status) || (status >= 500 && status !== 507)) {
    const wait = Math.max(after, waits[Math.min(item.tries++, waits.length - 1)])
    return retry(item, wait, because[status] ?? (status ? text.server : text.lost))
  }
  const problem = explain(status, response)
  const retryable = status === 507 || status === 460 || problem.code === 'quota_exceeded'
  if (!retryable) end(item)
  set(item, 'failed', { error: problem.text, action: retryable ? 'retry' : '' })
  tell(fill(text.live_failed, item.file.name, item.error), true)
}

const because = { 409: text.in_use, 423: text.in_use, 429: text.rate, 503: text.busy }

function retry(item, wait, why) {
  set(item, 'retrying', { due: performance.now() + wait, why })
  item.timer = setTimeout(() => item.state === 'retrying' && set(item, 'queued'), wait)
}

// A file that was changed or removed on disk cannot be read any more.
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer()
    return true
  } catch {
    return false
  }
}

function explain(status, response) {
  if (status === 507) return { text: text.disk }
  try {
    const { code, detail } = JSON.parse(response.getBody())
    return { code, text: code === 'quota_exceeded' ? text.quota : detail }
  } catch {
    return { text: fill(text.refused, status) }
  }
}

// add takes files that a person chose, dropped or pasted.
export function add(files) {
  const drop = document.getElementById('drop')
  const max = Number(drop?.dataset.maxFile) || Infinity
  const left = Number(drop?.dataset.left ?? -1)
  let room = (left < 0 ? Infinity : left) - items.filter((i) => unfinished(i) || ['ready', 'needs-file'].includes(i.state))
    .reduce((sum, i) => sum + i.file.size - i.counted, 0)
  let added = 0
  for (const { file, path } of files.sort((a, b) => a.file.size - b.file.size)) {
    const id = fingerprint(file, path)
    const known = items.find((i) => i.id === id && (unfinished(i) || i.state === 'needs-file')) ??
      items.find((i) => i.state === 'needs-file' && fingerprint(i.file, i.file.name) === id) // without its folder
    if (known) {
      if (known.state === 'needs-file') {
        known.file = file
        set(known, 'queued')
        added++
      }
      continue
    }
    const item = make(file, path, id)
    if (file.size > max) {
      set(item, 'rejected', { error: fill(text.too_large, bytes(file.size), limit(max)) })
      tell(fill(text.live_failed, file.name, item.error), true)
    } else if (file.size > room) {
      set(item, 'rejected', { error: text.quota })
      tell(fill(text.live_failed, file.name, item.error), true)
    } else {
      room -= file.size
      added++
      set(item, 'queued')
    }
  }
  if (added) tell(added === 1 ? text.live_added_one : fill(text.live_added, added))
}

const limit = (n) => (n % 2 ** 30 ? bytes(n) : `${n / 2 ** 30}\u00a0GiB`)

function make(file, path, id, more = {}) {
  const known = JSON.parse(localStorage.getItem(prefix + id) ?? '{}')
  const item = {
    id, file, path, url: known.url, loaded: 0, acknowledged: more.loaded ?? 0, counted: more.loaded ?? 0, tries: 0, samples: [], speed: 0, endpoint: '/tus/', ...more,
  }
  item.li = row(item, act)
  items.push(item)
  mount()
  return item
}

function remove(item) {
  const next = item.li.nextElementSibling ?? item.li.previousElementSibling
  const held = item.li.contains(document.activeElement)
  clearTimeout(item.timer)
  release(item)
  items.splice(items.indexOf(item), 1)
  item.li.remove()
  if (held) (next?.querySelector('button') ?? document.getElementById('file'))?.focus()
  mount()
  schedule()
}

// act is what the buttons of a row do.
const act = {
  pause(item) {
    item.upload?.abort()
    set(item, 'paused')
    tell(fill(text.live_paused, item.file.name))
  },
  resume(item) {
    set(item, 'queued')
    tell(fill(text.live_resumed, item.file.name))
  },
  retry(item) {
    clearTimeout(item.timer)
    item.tries = 0
    set(item, 'queued')
  },
  signIn: () => document.body.dispatchEvent(new CustomEvent('session-expired', { bubbles: true })),
  again(item) {
    remove(item)
    document.getElementById('file').click()
  },
  choose: () => document.getElementById('file').click(),
  async cancel(item) {
    const began = item.state
    item.upload?.abort()
    if (began === 'uploading' && item.loaded > undoable) {
      set(item, 'cancelled')
      item.li.hidden = true
      const timer = setTimeout(() => { end(item); remove(item) }, 8000)
      say({
        text: fill(text.cancelled, item.file.name),
        action: text.undo,
        onAction() {
          clearTimeout(timer)
          item.li.hidden = false
          set(item, 'queued')
        },
      })
      return
    }
    remove(item)
    await end(item)
  },
  remove(item) {
    remove(item)
    if (!item.elsewhere) end(item)
  },
}

// mount draws the rows where the page has room for them, else what goes on in
// the tray.
function mount() {
  const list = document.getElementById('queue')
  const tray = document.getElementById('tray')
  const on = items.length > 0
  if (list) {
    for (const item of items) if (item.li.parentElement !== list) list.append(item.li)
    list.hidden = !on
    document.getElementById('drop').classList.toggle('compact', on || document.querySelector('#waiting-list > li, .recent') !== null)
  }
  document.getElementById('summary')?.toggleAttribute('hidden', !items.some(unfinished))
  tray.hidden = Boolean(list) || !items.some(unfinished)
  paint()
}

// paint writes what moves, at most four times a second.
let painting
const title = () => document.title.replace(/^\d+% · /, '')
function paint() {
  painting ??= setTimeout(() => {
    painting = undefined
    for (const item of items) draw(item)
    const all = items.filter((i) => unfinished(i) || i.state === 'ready')
    const running = all.filter(unfinished)
    const loaded = all.reduce((sum, i) => sum + i.loaded, 0)
    const size = all.reduce((sum, i) => sum + i.file.size, 0)
    const speed = running.reduce((sum, i) => sum + (active(i) ? i.speed : 0), 0)
    const state = {
      running: running.length, all: all.length, loaded, size,
      left: speed ? duration((size - loaded) / speed) : '',
      paused: running.every((i) => i.state === 'paused'),
    }
    for (const id of ['summary', 'tray']) summary(document.getElementById(id), state, toggleAll)
    document.title = running.length ? `${Math.floor(100 * loaded / (size || 1))}% · ${title()}` : title()
    if (running.length) addEventListener('beforeunload', ask)
    else removeEventListener('beforeunload', ask)
    if (items.some((i) => i.state === 'retrying' || active(i))) paint()
  }, 250)
}
let leaving = false
const ask = (event) => leaving || event.preventDefault()

function toggleAll() {
  const running = items.filter(unfinished)
  const paused = running.every((i) => i.state === 'paused')
  for (const item of running) {
    if (paused) set(item, 'queued')
    else if (item.state !== 'paused') {
      clearTimeout(item.timer)
      item.upload?.abort()
      set(item, 'paused')
    }
  }
}

// tell speaks to those who do not see the rows, at most once a second.
let spoken = 0
let next
function tell(message, urgent = false) {
  if (urgent) {
    document.getElementById('alert').textContent = message
    return
  }
  clearTimeout(next)
  next = setTimeout(() => {
    spoken = performance.now()
    document.getElementById('live').textContent = message
  }, Math.max(0, spoken + 1000 - performance.now()))
}

// recall lists what a page before this one left unfinished.
async function recall() {
  let unknown = false
  const held = new Set((await navigator.locks?.query())?.held.map((lock) => lock.name))
  for (const key of Object.keys(localStorage)) {
    if (!key.startsWith(prefix) || held.has(key)) continue
    const id = key.slice(prefix.length)
    const { url, path, ...file } = JSON.parse(localStorage.getItem(key))
    const res = await fetch(url, { method: 'HEAD', headers: { ...headers, 'Tus-Resumable': '1.0.0' } }).catch(() => null)
    if (items.some((item) => item.id === id)) continue
    const offset = Number(res?.headers.get('Upload-Offset'))
    if (res?.ok && offset < file.size) {
      set(make(file, path ?? file.name, id, { url, loaded: offset }), 'needs-file')
    } else if (res?.ok || res?.status === 404 || res?.status === 410) { // complete: then the server lists it; or gone
      localStorage.removeItem(key)
    } else {
      unknown = true // a server in trouble forgets nothing
    }
  }
  if (unknown) setTimeout(recall, waits.at(-1))
}

// The lists of the server and of the queue never show the same file twice. A
// new word of the server about the storage counts what has arrived.
let told
function settled() {
  const storage = document.getElementById('storage')
  if (storage !== told) for (const item of items) item.counted = item.acknowledged
  told = storage
  for (const item of items.filter((i) => i.state === 'ready')) {
    if (document.querySelector(`#waiting-list [data-token="${item.token}"]`)) remove(item)
  }
  mount()
}
document.addEventListener('htmx:afterSettle', settled)
document.addEventListener('htmx:historyRestore', settled)

const offline = () => document.getElementById('offline')?.toggleAttribute('hidden', navigator.onLine)
for (const event of ['online', 'offline']) addEventListener(event, offline)
document.addEventListener('htmx:afterSettle', offline)
offline()
addEventListener('online', () => items.filter((i) => i.state === 'offline').forEach((i) => set(i, 'queued')))
addEventListener('offline', () => {
  if (!items.some(unfinished)) return
  for (const item of items.filter((i) => active(i) || i.state === 'retrying' || i.state === 'queued')) {
    clearTimeout(item.timer)
    item.upload?.abort()
    set(item, 'offline')
  }
  tell(text.live_offline)
})
document.body.addEventListener('session-renewed', () => {
  items.filter((i) => i.state === 'blocked').forEach((i) => set(i, 'queued'))
  recall()
})

// Somebody else is signed in: the page goes, and what is on its way is not theirs.
document.body.addEventListener('account-changed', (event) => {
  leaving = true
  for (const item of items.filter(unfinished)) {
    event.preventDefault() // says that there was something
    clearTimeout(item.timer)
    item.upload?.abort()
  }
})

// A form that is looked at does not expire under its reader.
setInterval(async () => {
  if (document.visibilityState !== 'visible') return
  const rows = [...document.querySelectorAll('#waiting-list [data-token]')]
  const touched = await Promise.all(rows.map((row) =>
    fetch(`/api/v1/uploads/${row.dataset.token}/touch`, { method: 'POST', headers }).then((res) => res.ok, () => false)))
  if (touched.includes(true)) document.body.dispatchEvent(new CustomEvent('waiting', { bubbles: true }))
}, touchEvery)

mount()
recall()
