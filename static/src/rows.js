// How an upload looks: one row each, a summary above them, or the tray.
import * as text from '../../views/text/script.json'
import { fill } from './text.js'
import { bytes, duration, split, kind } from './format.js'
import { off } from './off.js'

const icon = (name, small = '') =>
  `<svg class="i ${small}" aria-hidden="true"><use href="#i-${name}"/></svg>`

// What can be done in each state: [action, icon].
const buttons = {
  rejected: [['remove', 'x']],
  queued: [['cancel', 'x']],
  starting: [['cancel', 'x']],
  uploading: [['pause', 'pause'], ['cancel', 'x']],
  paused: [['resume', 'play'], ['cancel', 'x']],
  retrying: [['retry', 'retry'], ['cancel', 'x']],
  offline: [['cancel', 'x']],
  blocked: [['signIn', 'user'], ['cancel', 'x']],
  finishing: [['cancel', 'x']],
  failed: [['remove', 'x']],
  'needs-file': [['choose', 'up'], ['cancel', 'trash']],
  ready: [],
  cancelled: [],
}

const names = {
  pause: text.act_pause, resume: text.act_resume, cancel: text.act_cancel, remove: text.act_remove,
  retry: text.act_retry, again: text.act_again, signIn: text.act_signIn, choose: text.act_choose,
}

const of = (item) => fill(text.of, bytes(item.loaded), bytes(item.file.size))

// What the second line says in each state.
const says = {
  rejected: () => [text.not_uploaded],
  queued: (item) => [text.queued, bytes(item.file.size)],
  starting: () => [text.starting],
  uploading(item) {
    const left = item.speed ? duration((item.file.size - item.loaded) / item.speed) : ''
    return [of(item), item.speed && `${bytes(item.speed)}/s`, left && fill(text.left, left)]
  },
  paused: (item) => [text.paused, of(item)],
  retrying(item) {
    const seconds = Math.ceil((item.due - performance.now()) / 1000)
    return [seconds > 0 ? fill(text.trying_in, item.why, seconds) : fill(text.trying, item.why)]
  },
  offline: () => [text.offline],
  blocked: () => [text.blocked],
  finishing: () => [text.finishing],
  ready: () => [text.uploaded],
  failed: () => [text.not_uploaded],
  'needs-file': (item) => [text.needs_file, fill(text.kept, bytes(item.loaded), bytes(item.file.size))],
  cancelled: () => [],
}

const icons = { paused: 'pause', retrying: 'retry', offline: 'warn', blocked: 'warn', failed: 'warn', rejected: 'warn', ready: 'check', 'needs-file': 'clock' }

// row makes the element of an upload once; draw keeps it true.
export function row(item, act) {
  const li = document.createElement('li')
  const [head, tail] = split(item.path)
  const look = kind(item.file.type)
  li.innerHTML = `<span class="tile k-${look.tile}">${icon(look.icon)}</span><div class="body">` +
    '<span class="name"><span class="a"></span><span class="z"></span></span><p class="meta num"></p>' +
    '<progress max="100"></progress></div><div class="acts"></div><p class="fix" hidden></p>'
  li.querySelector('.name').title = item.path
  li.querySelector('.a').textContent = head
  li.querySelector('.z').textContent = tail
  li.querySelector('progress').ariaLabel = item.path
  li.addEventListener('click', (event) => {
    const button = event.target.closest('[data-act]')
    if (button) act[button.dataset.act](item)
  })
  li.addEventListener('keydown', (event) => {
    if (off() || event.key !== 'p' || event.ctrlKey || event.metaKey || event.altKey) return
    if (item.state === 'uploading') act.pause(item)
    else if (item.state === 'paused') act.resume(item)
  })
  return li
}

const change = (element, property, value) => { if (element[property] !== value) element[property] = value }

export function draw(item) {
  const { li, state } = item
  const meta = li.querySelector('.meta')
  const lines = says[state](item).filter(Boolean)
  if (meta.dataset.line !== state + lines.join('|')) {
    meta.dataset.line = state + lines.join('|')
    meta.replaceChildren(...lines.map((line, i) => {
      const span = document.createElement('span')
      if (i === 0 && icons[state]) {
        span.className = 'st'
        span.innerHTML = icon(icons[state], 'i-s')
      }
      span.append(line)
      return span
    }))
  }
  const bar = li.querySelector('progress')
  const moving = state === 'starting' || state === 'finishing'
  change(bar, 'hidden', !['starting', 'uploading', 'paused', 'retrying', 'offline', 'blocked', 'finishing', 'needs-file'].includes(state))
  const percent = Math.floor(100 * item.loaded / (item.file.size || 1))
  if (moving) bar.removeAttribute('value')
  else change(bar, 'value', percent)
  const fix = li.querySelector('.fix')
  change(fix, 'hidden', !item.error)
  if (fix.dataset.for !== state + item.error) {
    fix.dataset.for = state + item.error
    fix.replaceChildren(item.error ?? '')
    if (item.action) fix.append(button(item.action, names[item.action]))
  }
  if (li.dataset.state === state) return
  // The hand that pauses finds the button that resumes in its place.
  const acts = li.querySelector('.acts')
  const held = acts.contains(document.activeElement) ? [...acts.children].indexOf(document.activeElement) : -1
  acts.innerHTML = ''
  for (const [name, drawing] of buttons[state]) {
    const b = button(name)
    b.className = name === 'cancel' || name === 'remove' ? 'ib ib-d' : 'ib'
    b.title = names[name]
    b.ariaLabel = fill(text.act_on, names[name], item.path)
    b.innerHTML = icon(drawing)
    acts.append(b)
  }
  if (held >= 0) (acts.children[held] ?? acts.lastElementChild)?.focus()
  li.dataset.state = state
}

function button(name, label) {
  const b = document.createElement('button')
  b.type = 'button'
  b.dataset.act = name
  if (label) {
    b.className = 'btn btn-s'
    b.textContent = label
  }
  return b
}

// summary says how all of them go on, in the card or in the tray.
export function summary(box, { running, all, loaded, size, left, paused }, toggleAll) {
  if (!box) return
  if (!box.firstElementChild) {
    box.innerHTML = '<span><b></b></span><span></span><span></span><span class="end"><button type="button" class="btn btn-s btn-g"></button></span>'
    box.querySelector('button').addEventListener('click', toggleAll)
    if (box.id === 'tray') {
      const link = document.createElement('a')
      link.className = 'btn btn-s'
      link.href = '/'
      link.textContent = text.show
      box.querySelector('.end').append(link)
      window.htmx.process(box)
    }
  }
  const [count, amount, time] = box.children
  change(count.firstElementChild, 'textContent', fill(all === 1 ? text.sum_one : text.sum_many, all - running + 1, all))
  change(amount, 'textContent', fill(text.of, bytes(loaded), bytes(size)))
  change(time, 'textContent', left && fill(text.about_left, left))
  change(box.querySelector('button'), 'textContent', paused ? text.resume_all : text.pause_all)
}
