// Notes about what was done: those that the server put into a page are lifted
// out of it, others come with an HX-Trigger or from the scripts.
import * as text from '../../views/text/script.json'
import { fill } from './text.js'

const box = () => document.getElementById('toasts')
const icon = (name) => `<svg class="i" aria-hidden="true"><use href="#i-${name}"/></svg>`

function keep(toast, life) {
  let timer
  const stop = () => clearTimeout(timer)
  const start = () => {
    stop()
    timer = life && setTimeout(() => toast.remove(), life)
  }
  toast.addEventListener('pointerenter', stop)
  toast.addEventListener('focusin', stop)
  toast.addEventListener('pointerleave', start)
  toast.addEventListener('focusout', start)
  const close = document.createElement('button')
  close.type = 'button'
  close.className = 'ib'
  close.ariaLabel = text.dismiss
  close.innerHTML = icon('x')
  close.addEventListener('click', () => toast.remove())
  toast.append(close)
  // htmx asks the form what to do with the answer, so it stays until then; and
  // it comes back if there is none, since it may be the only way to undo.
  toast.querySelector('form')?.addEventListener('submit', () => {
    stop()
    toast.hidden = true
  })
  toast.addEventListener('htmx:afterRequest', ({ detail }) => {
    if (detail.successful) return toast.remove()
    toast.hidden = false
    start()
  })
  box().append(toast)
  while (box().children.length > 3) box().firstElementChild.remove()
  start()
}

export function say(message, { bad = false, action, onAction, undo } = {}) {
  for (const old of box().children) if (bad && old.dataset.bad === message) old.remove()
  const toast = document.createElement('div')
  toast.className = 'toast'
  if (bad) toast.dataset.bad = message
  const p = document.createElement('p')
  p.textContent = message
  toast.append(p)
  if (action) {
    const button = document.createElement('button')
    button.type = 'button'
    button.className = 'btn btn-s'
    button.textContent = action
    button.dataset.undo = ''
    button.addEventListener('click', () => { toast.remove(); onAction() })
    toast.append(button)
  }
  if (undo) { // an address of what waits
    const form = document.createElement('form')
    form.method = 'post'
    form.action = undo
    form.dataset.waiting = ''
    form.innerHTML = '<button class="btn btn-s" data-undo></button>'
    form.firstElementChild.textContent = text.undo
    toast.append(form)
  }
  document.getElementById(bad ? 'alert' : 'live').textContent = message
  keep(toast, bad ? 0 : action || undo ? 10_000 : 5000)
  window.htmx?.process(toast)
  return toast
}

function lift() {
  for (const toast of document.querySelectorAll('main [data-toast]')) {
    toast.remove()
    const bad = 'bad' in toast.dataset
    document.getElementById(bad ? 'alert' : 'live').textContent = toast.querySelector('p').textContent
    toast.removeAttribute('role')
    keep(toast, bad ? 0 : toast.querySelector('form, a') ? 10_000 : 5000)
    window.htmx?.process(toast)
  }
}
lift()
document.addEventListener('htmx:afterSettle', lift)
document.addEventListener('notes', lift)
document.addEventListener('toast', (event) => {
  const { text: message, ...how } = event.detail
  say(message, how)
})

// Without an answer of ours nothing would happen: say so. What a proxy writes
// is not for the page.
const noAnswer = () => say(text.no_answer, { bad: true })
document.addEventListener('htmx:sendError', noAnswer)
document.addEventListener('htmx:timeout', noAnswer)
document.addEventListener('htmx:responseError', ({ detail: { xhr } }) => {
  if (xhr.getResponseHeader('HX-Trigger')) return
  if (xhr.status === 401) document.body.dispatchEvent(new CustomEvent('session-expired', { bubbles: true }))
  else say(xhr.status >= 500 ? text.trouble : fill(text.refused, xhr.status), { bad: true })
})

// Undo by key, as everywhere else.
document.addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.key.toLowerCase() !== 'z') return
  if (event.target.closest('input, textarea, select, [contenteditable]')) return
  const undo = [...box().querySelectorAll('[data-undo]')].pop()
  if (undo) { event.preventDefault(); undo.click() }
})
