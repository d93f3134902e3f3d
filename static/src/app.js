// What every page runs. Behaviour is attached to the document, so that it
// holds for whatever is swapped in later; data- attributes are the hooks.
import htmx from 'htmx.org/dist/htmx.esm.js'
import './page.js'
import './toasts.js'
import './intake.js'
import './submit.js'
import './session.js'
import './files.js'
import './keys.js'

// htmx leaves errors unswapped. Ours say where they go, a proxy's do not.
document.addEventListener('htmx:beforeSwap', (event) => {
  const { xhr } = event.detail
  if (xhr.status >= 400 && xhr.getResponseHeader('HX-Retarget')) {
    event.detail.shouldSwap = true
    event.detail.isError = false
  }
})

window.htmx = htmx
