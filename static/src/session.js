// What happens when the session has ended while somebody works: nothing is
// lost, and another tab signs in again.
import { say } from './toasts.js'
import * as text from '../../views/text/script.json'
import { fill } from './text.js'

const channel = new BroadcastChannel('session')
const { owner, login } = document.body.dataset
let ended = false

document.body.addEventListener('session-expired', () => {
  if (!owner) { // nobody was signed in, so nothing ended
    location.assign('/login')
    return
  }
  ended = true
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

// What a page asks for is meant for whom it was made.
document.body.addEventListener('htmx:configRequest', ({ detail }) => {
  if (owner) detail.headers['Upload-Owner'] = owner
})

// Every page tells the others for whom it was made. Who is surprised asks the
// server who is signed in.
channel.addEventListener('message', async ({ data: other }) => {
  if (!owner || other === owner && !ended) return
  const res = await fetch('/api/v1/me').catch(() => null)
  if (res?.status === 401) return document.body.dispatchEvent(new CustomEvent('session-expired', { bubbles: true }))
  if (!res?.ok) return
  const { id } = await res.json()
  if (id !== owner) {
    const stopped = !document.body.dispatchEvent(new CustomEvent('account-changed', { cancelable: true }))
    sessionStorage.setItem('before', JSON.stringify({ login, stopped }))
    return location.reload()
  }
  if (!ended) return
  ended = false
  document.getElementById('dialog').close()
  say(text.session_back)
  document.body.dispatchEvent(new CustomEvent('session-renewed', { bubbles: true }))
})
channel.postMessage(owner ?? '')
if (document.querySelector('[data-signed-in]')) window.close() // it was opened for that message

const before = JSON.parse(sessionStorage.getItem('before'))
sessionStorage.removeItem('before')
if (before) say(before.stopped ? fill(text.session_stopped, login, before.login) : fill(text.session_other, login))
