// What happens when the session has ended while somebody works: nothing is
// lost, and another tab signs in again.
import { say } from './toasts.js'
import { script as text } from './text.js'

const channel = new BroadcastChannel('session')

document.body.addEventListener('session-expired', () => {
  if (!document.body.dataset.owner) { // nobody was signed in, so nothing ended
    location.assign('/login')
    return
  }
  const dialog = document.getElementById('dialog')
  if (dialog.open) return
  dialog.innerHTML = '<div class="dlg-h"><h2 id="dialog-title"></h2></div><div class="dlg-b"><p></p></div>' +
    '<div class="dlg-f"><button type="button" class="btn" data-close></button>' +
    '<a class="btn btn-p" href="/login?next=/signed-in" target="_blank" rel="opener" hx-boost="false"></a></div>'
  dialog.querySelector('h2').textContent = text.session_title
  dialog.querySelector('p').textContent = text.session_text
  dialog.querySelector('button').textContent = text.session_later
  dialog.querySelector('a').textContent = text.session_again
  dialog.showModal()
  dialog.querySelector('a').focus()
})
document.addEventListener('click', (event) => {
  if (event.target.closest('dialog [data-close]')) document.getElementById('dialog').close()
})

// The page behind a new sign-in says who it is, and goes.
const signedIn = document.querySelector('[data-signed-in]')
if (signedIn) {
  channel.postMessage(document.body.dataset.owner)
  window.close()
}
channel.addEventListener('message', ({ data: owner }) => {
  document.getElementById('dialog').close()
  if (owner === document.body.dataset.owner) {
    say(text.session_back)
    document.body.dispatchEvent(new CustomEvent('session-renewed', { bubbles: true }))
  } else {
    location.reload()
  }
})
