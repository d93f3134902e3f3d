// What every page runs. Behaviour is attached to the document, so that it
// holds for whatever is swapped in later; data- attributes are the hooks.
import htmx from 'htmx.org/dist/htmx.esm.js'
import './page.js'
import './toasts.js'
import './submit.js'
import './session.js'

// The queue outlives the pages between which a person moves. It is a bundle of
// its own, loaded when there is time.
const queue = () => import(document.body.dataset.uploader)
const wanted = () => document.querySelector('#drop, [data-needs-queue]')
if (wanted()) {
  ('requestIdleCallback' in window ? requestIdleCallback : setTimeout)(queue)
} else {
  document.addEventListener('htmx:afterSettle', () => wanted() && queue())
}

// htmx leaves errors unswapped. Ours say where they go, a proxy's do not.
document.addEventListener('htmx:beforeSwap', (event) => {
  const { xhr } = event.detail
  if (xhr.status >= 400 && xhr.getResponseHeader('HX-Retarget')) {
    event.detail.shouldSwap = true
    event.detail.isError = false
  }
})

window.htmx = htmx
