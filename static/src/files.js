// The list of files: selection, keys, rows that go without a new list.
import * as text from '../../views/text/script.json'
import { fill } from './text.js'
import { bytes } from './format.js'
import { live } from './page.js'
import { off } from './off.js'

const $ = (selector, root = document) => root.querySelector(selector)
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)]
const boxes = () => $$('#rows .ck')
const chosen = () => boxes().filter((box) => box.checked)
const rows = () => $$('#rows tr[data-id], #rows tr[data-folder]')

function count(said = true) {
  const form = $('#selection')
  if (!form) return
  const on = chosen()
  const size = on.reduce((sum, box) => sum + Number(box.dataset.size), 0)
  const remove = $('[formaction="/actions/delete"]', form)
  if ('final' in form.dataset || on.length > 20 || on.some((box) => box.name === 'folder')) remove.dataset.confirm = fill(text.confirm_delete, on.length)
  else delete remove.dataset.confirm
  $('[data-selected]', form).textContent = fill(text.selected, on.length)
  $('[data-selected-size]', form).textContent = size ? bytes(size) : ''
  const all = $('#all')
  if (all) {
    all.checked = on.length > 0 && on.length === boxes().length
    all.indeterminate = on.length > 0 && !all.checked
  }
  if (said) live(on.length ? fill(text.live_selected, on.length, size ? bytes(size) : '') : text.live_cleared)
}

// Shift chooses all between the last two.
let last
document.addEventListener('click', (event) => {
  const box = event.target
  if (!box.matches?.('#rows .ck')) return
  const list = boxes()
  if (event.shiftKey && last && list.includes(last)) {
    const [from, to] = [list.indexOf(last), list.indexOf(box)].sort((a, b) => a - b)
    for (const between of list.slice(from, to + 1)) between.checked = box.checked
  }
  last = box
  count()
})
document.addEventListener('change', (event) => {
  if (event.target.id !== 'all') return
  for (const box of boxes()) box.checked = event.target.checked
  count()
})
document.addEventListener('click', (event) => {
  if (!event.target.closest('[data-clear]')) return
  for (const box of boxes()) box.checked = false
  count()
  boxes()[0]?.focus()
})

// An archive is fetched by the browser itself: submit() does not ask htmx.
document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-native]')
  if (!button) return
  event.preventDefault()
  const action = button.form.getAttribute('action')
  button.form.action = button.formAction
  button.form.submit()
  button.form.action = action
})

// What cannot be told by an undo alone is asked first.
document.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-confirm]')
  if (!button) return
  if (button.dataset.confirmed) return delete button.dataset.confirmed
  event.preventDefault()
  event.stopImmediatePropagation()
  const dialog = $('#dialog')
  dialog.innerHTML = '<form method="dialog"><div class="dlg-b"><h2 id="dialog-title"></h2></div>' +
    '<div class="dlg-f"><button class="btn" value=""></button><button class="btn btn-d" value="yes"></button></div></form>'
  $('h2', dialog).textContent = button.dataset.confirm
  const [no, yes] = $$('button', dialog)
  no.textContent = text.act_cancel
  yes.textContent = button.title || button.textContent
  dialog.returnValue = ''
  dialog.onclose = () => {
    dialog.onclose = null
    if (!dialog.returnValue) return button.focus()
    button.dataset.confirmed = 'true'
    button.click()
  }
  dialog.showModal()
  no.focus()
}, true)

// A list that has been scrolled and extended keeps its place: after a delete
// only the rows go, and the note comes.
document.addEventListener('htmx:beforeSwap', (event) => {
  const { requestConfig, xhr } = event.detail
  if (requestConfig?.path !== '/actions/delete' || xhr.status >= 400 || !$('#rows')) return
  const values = requestConfig.formData
  const gone = new Set(values.get('only') || values.get('only_folder')
    ? [values.get('only') ?? values.get('only_folder')] : [...values.getAll('id'), ...values.getAll('folder')])
  const going = rows().filter((row) => gone.has(row.dataset.id ?? $('.ck', row)?.value))
  if (going.length === rows().length) return // the empty list is the server's
  event.detail.shouldSwap = false
  const page = new DOMParser().parseFromString(xhr.responseText, 'text/html')
  const next = rows()[rows().indexOf(going.at(-1)) + 1] ?? rows().at(-going.length - 1)
  for (const row of going) row.remove()
  if (rows().length === $$('#rows tr[data-id], #rows tr[data-folder]', page).length) { // else it has been extended
    $('#list .foot')?.replaceWith($('#list .foot', page))
  }
  $('#usage').replaceWith($('#usage', page))
  if (gone.has(new URLSearchParams(location.search).get('open'))) {
    $('#details').hidden = true
    cover()
    history.replaceState(history.state, '', location.pathname)
  }
  $('#main').prepend(...$$('[data-toast]', page))
  document.dispatchEvent(new Event('notes'))
  count(false)
  $('a.row', next)?.focus()
})

// Where there is no room beside the list the details lie over the page, as a
// dialog: what is behind them is out of reach until they are closed.
const narrow = matchMedia('(max-width: 1179px)')
function cover() {
  const details = $('#details')
  const over = narrow.matches && details != null && !details.hidden
  for (const behind of $$('.skip, .top, #main > :not(.split), .split > :not(#details), #tray')) behind.inert = over
  if (details) Object.assign(details, over ? { role: 'dialog', ariaModal: 'true' } : { role: null, ariaModal: null })
}
narrow.addEventListener('change', cover)

let opened // the file whose details were shown last
function settled() {
  count(false)
  cover()
  for (const row of rows()) row.removeAttribute('aria-current')
  const open = new URLSearchParams(location.search).get('open')
  if (!open) return
  opened = open
  row(open)?.setAttribute('aria-current', 'true')
}
const row = (id) => $(`#rows tr[data-id="${CSS.escape(id)}"]`)

document.addEventListener('htmx:afterSettle', (event) => {
  settled()
  if (event.target.id === 'details') {
    if (event.target.hidden) (row(opened) ? $('a.row', row(opened)) : $('#main')).focus()
    else $('h2', event.target).focus()
  }
  if (event.target.id === 'list') {
    const found = $('#more') ? text.live_found_more : rows().length === 1 ? text.live_found_one : text.live_found
    live(fill(found, rows().length))
  }
})
settled()

const typing = (target) => target.closest?.('input:not([type=checkbox]), textarea, select, [contenteditable]')
const focused = () => document.activeElement?.closest?.('#rows tr')
function move(to, select) {
  const list = rows()
  const next = list[Math.max(0, Math.min(list.length - 1, to))]
  if (!next) return
  if (select) {
    const box = $('.ck', next)
    if (box) box.checked = true
    count()
  }
  $('a.row', next).focus()
}

document.addEventListener('keydown', (event) => {
  const leaves = event.key === 'Escape' && event.target.closest('#details[role=dialog]')
  if (!$('#list') || typing(event.target) && !leaves || $('#dialog').open) return
  // The browser and the system have keys of their own, and so has what plays or
  // scrolls in the details.
  const command = event.ctrlKey || event.metaKey
  if (command && event.key !== 'a' || event.altKey && event.key !== 'ArrowUp') return
  if (event.target.closest('#details, [popover]') && event.key !== 'Escape') return
  if (event.key === 'Escape' && document.querySelector('[popover]:popover-open')) return // it closes that
  const here = focused()
  const at = here ? rows().indexOf(here) : -1
  if (off() && event.key.length === 1 && /[a-z]/.test(event.key) && !command) return
  const act = {
    ArrowDown: () => move(at + 1, event.shiftKey),
    ArrowUp: () => (event.altKey ? $('.crumbs li:nth-last-child(2) a')?.click() : move(at - 1, event.shiftKey)),
    Home: () => move(0),
    End: () => move(rows().length - 1),
    ' ': () => $('.ck', here)?.click(),
    Backspace: () => $('.crumbs li:nth-last-child(2) a')?.click(),
    Delete: () => (chosen().length ? $('#selection') : here)?.querySelector('[formaction="/actions/delete"]')?.click(),
    d: () => here && $('.dlb', here)?.click(),
    i: () => here && $('a.row', here)?.click(),
    F2: () => here?.dataset.id && rename(here),
    Escape: () => (chosen().length && !leaves ? $('[data-clear]').click() : $('[data-close-details]')?.click()),
    a: () => { for (const box of boxes()) box.checked = true; count() },
  }[event.key]
  if (!act || event.key === ' ' && !(here && event.target.matches('a')) || event.key === 'a' && !command) return
  event.preventDefault()
  act()
})

function rename(here) {
  const done = (event) => {
    if (event.target.id !== 'details') return
    document.removeEventListener('htmx:afterSettle', done)
    const field = $('#name')
    field?.focus()
    const dot = field?.value.lastIndexOf('.')
    field?.setSelectionRange(0, dot > 0 ? dot : field.value.length)
  }
  document.addEventListener('htmx:afterSettle', done)
  $('a.row', here).click()
}
