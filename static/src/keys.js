// Keys that work on every page. They are off while somebody types, and can be
// switched off for good.
import * as text from '../../views/text/script.json'
import { off } from './off.js'

const $ = (selector) => document.querySelector(selector)

const list = [
  ['?', text.key_help], ['u', text.key_choose], ['/', text.key_search], ['g u', text.key_upload], ['g f', text.key_files],
  ['g k', text.key_keys], ['g a', text.key_admin], ['Ctrl Enter', text.key_submit], ['p', text.key_pause],
  ['↑ ↓', text.key_rows], [text.key_space, text.key_select], ['F2', text.key_rename], ['Del', text.key_delete],
  ['d', text.key_download], ['i', text.key_details], ['Ctrl Z', text.key_undo], ['Esc', text.key_close],
]

function help() {
  const dialog = $('#dialog')
  dialog.innerHTML = '<form method="dialog"><div class="dlg-h"><h2 id="dialog-title"></h2></div>' +
    '<div class="dlg-b"><dl class="keys"></dl><label class="line"><input type="checkbox" class="ck"><span></span></label></div>' +
    '<div class="dlg-f"><button class="btn"></button></div></form>'
  dialog.querySelector('h2').textContent = text.key_title
  dialog.querySelector('button').textContent = text.close
  dialog.querySelector('.line span').textContent = text.key_off
  for (const [keys, does] of list) {
    const dt = document.createElement('dt')
    for (const key of keys.split(' ')) dt.append(Object.assign(document.createElement('kbd'), { textContent: key }), ' ')
    dialog.querySelector('dl').append(dt, Object.assign(document.createElement('dd'), { textContent: does }))
  }
  const box = dialog.querySelector('input')
  box.checked = off()
  box.addEventListener('change', () => localStorage.setItem('keys', box.checked ? 'off' : 'on'))
  dialog.showModal()
}

let led = 0 // when g was pressed
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('#dialog').open) return
  if (event.target.closest?.('input:not([type=checkbox]), textarea, select, [contenteditable]')) return
  if (event.key === '?') return help()
  if (off()) return
  const go = event.timeStamp - led < 1500 && { u: 'upload', f: 'files', k: 'keys', a: 'admin' }[event.key]
  led = event.key === 'g' ? event.timeStamp : 0
  const target = go ? $(`[data-nav=${go}]`) : { u: $('#file'), '/': $('.search input') }[event.key]
  if (!target) return
  event.preventDefault()
  event.key === '/' ? target.focus() : target.click()
})
