// The form that makes uploads permanent: how many are chosen, where they go.
import { script as text, fill } from './text.js'

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

document.addEventListener('change', (event) => event.target.matches('input[name=token]') && count())
document.addEventListener('rows:changed', count)
document.addEventListener('htmx:afterSettle', count)

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
