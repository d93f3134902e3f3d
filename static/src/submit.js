// The form that makes uploads permanent: how many are chosen, where they go.
import * as text from '../../views/text/script.json'
import { fill } from './text.js'

const $ = (selector) => document.querySelector(selector)
const chosen = () => [...document.querySelectorAll('#waiting-list input[name=token]:checked')]

function count() {
  const button = $('#submit [data-count]')
  if (!button) return
  const n = chosen().length
  button.textContent = n === 1 ? text.submit_one : n ? fill(text.submit_many, n) : text.submit
  button.toggleAttribute('aria-disabled', n === 0)
  const jump = $('[data-jump]')
  if (jump) jump.textContent = n === 1 ? text.ready_one : fill(text.ready_many, n)
  watch()
}

// A bar leads to the form while that is out of sight and something is ready.
let seen
function watch() {
  const form = $('#submit-card')
  const jump = $('#jump')
  if (!form || !jump) return
  seen?.disconnect()
  seen = new IntersectionObserver(([entry]) => { jump.hidden = entry.isIntersecting || !chosen().length })
  seen.observe(form)
}

// The queue asks the drop zone how much may come; with no room it is closed.
function room() {
  const drop = $('#drop')
  if (!drop) return
  drop.dataset.left = $('#storage').dataset.left
  drop.inert = $('#full').hasChildNodes()
}
document.addEventListener('htmx:oobAfterSwap', room)

// What waits counts its time down from when the server wrote it: its clock and
// the reader's may differ. What has run out cannot be submitted any more.
const minute = 60_000
function expire() {
  for (const chip of document.querySelectorAll('[data-expires]')) {
    chip.until ??= Date.now() + chip.dataset.expires * 1000
    const left = chip.until - Date.now()
    const hours = left / (60 * minute)
    chip.classList.toggle('chip', hours < 1)
    chip.classList.toggle('chip-w', hours < 1 && left > 0)
    chip.classList.toggle('chip-b', left <= 0)
    chip.querySelector('time').textContent = left <= 0 ? text.expired
      : hours < 1 ? fill(text.expires_minutes, Math.floor(left / minute) + 1)
        : hours < 48 ? fill(text.expires_hours, Math.floor(hours)) : fill(text.expires_days, Math.floor(hours / 24))
    const box = chip.closest('li').querySelector('input[name=token]')
    if (left > 0 || box.disabled) continue
    box.checked = false
    box.disabled = true
    count()
  }
}
setInterval(expire, 15_000)
expire()
document.addEventListener('htmx:afterSettle', expire)

// A description is bounded in bytes, which maxlength cannot say.
document.addEventListener('input', ({ target }) => {
  if (!target.dataset.bytes) return
  const long = new TextEncoder().encode(target.value).length > target.dataset.bytes
  target.setCustomValidity(long ? text.too_long : '')
})

document.addEventListener('change', (event) => event.target.matches('input[name=token]') && count())
document.addEventListener('rows:changed', count)
document.addEventListener('htmx:afterSettle', count)

// What changes the list of what waits changes it in all tabs of its owner. This
// does not wait for the queue's bundle: what another tab does meanwhile counts.
const tabs = new BroadcastChannel(`waiting:${document.body.dataset.owner}`)
const anew = () => document.body.dispatchEvent(new CustomEvent('upload:ready', { bubbles: true }))
tabs.addEventListener('message', anew)
document.addEventListener('waiting-changed', () => {
  anew()
  tabs.postMessage('')
})
document.addEventListener('htmx:afterRequest', ({ detail: { requestConfig, successful } }) => {
  if (successful && requestConfig.verb === 'post' && /^\/(submit|waiting)/.test(requestConfig.path)) tabs.postMessage('')
})

// What a person has unchecked stays so when the list comes anew.
let unchecked = new Set()
document.addEventListener('htmx:beforeSwap', (event) => {
  if (event.target.id !== 'waiting-list') return
  unchecked = new Set([...document.querySelectorAll('#waiting-list input[name=token]:not(:checked)')].map((i) => i.value))
})
document.addEventListener('htmx:afterSwap', (event) => {
  if (event.target.id !== 'waiting-list') return
  for (const box of document.querySelectorAll('#waiting-list input[name=token]')) box.checked = !unchecked.has(box.value)
})

document.addEventListener('input', (event) => {
  if (event.target.id !== 'folder') return
  const place = $('[data-place]')
  const folder = event.target.value.replace(/^[/ ]+|[/ ]+$/g, '')
  place.textContent = place.dataset.place + (folder && `/${folder}`)
})
document.addEventListener('submit', (event) => {
  if (event.target.id === 'submit' && !chosen().length) {
    event.preventDefault()
    event.stopImmediatePropagation()
    document.getElementById('alert').textContent = text.choose
  }
}, true)
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('#submit')?.requestSubmit()
})
count()
