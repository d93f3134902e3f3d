// Notes about what was done: those that the server put into a page are lifted
// out of it, others come with an HX-Trigger or from the scripts.
import { script as text } from './text.js'

const box = () => document.getElementById('toasts')
const icon = (name) => `<svg class="i" aria-hidden="true"><use href="#i-${name}"/></svg>`

function keep(toast, life) {
  let timer
  const start = () => { timer = life && setTimeout(() => toast.remove(), life) }
  const stop = () => clearTimeout(timer)
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
  toast.querySelector('form')?.addEventListener('submit', () => setTimeout(() => toast.remove()))
  box().append(toast)
  while (box().children.length > 3) box().firstElementChild.remove()
  start()
}

export function say(message, { bad = false, action, onAction } = {}) {
  const toast = document.createElement('div')
  toast.className = 'toast'
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
  document.getElementById(bad ? 'alert' : 'live').textContent = message
  keep(toast, bad ? 0 : action ? 10_000 : 5000)
  return toast
}

function lift() {
  for (const toast of document.querySelectorAll('main [data-toast]')) {
    toast.remove()
    document.getElementById('live').textContent = toast.querySelector('p').textContent
    toast.removeAttribute('role')
    keep(toast, toast.querySelector('form, a') ? 10_000 : 5000)
    window.htmx?.process(toast)
  }
}
lift()
document.addEventListener('htmx:afterSettle', lift)
document.addEventListener('toast', (event) => {
  const { text: message, ...how } = event.detail
  say(message, how)
})

// Undo by key, as everywhere else.
document.addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.key.toLowerCase() !== 'z') return
  if (event.target.closest('input, textarea, select, [contenteditable]')) return
  const undo = [...box().querySelectorAll('[data-undo]')].pop()
  if (undo) { event.preventDefault(); undo.click() }
})
