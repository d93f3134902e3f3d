// Small things that several pages share: times, copying, the theme, focus.
import * as text from '../../views/text/script.json'

const $ = (selector, root = document) => root.querySelector(selector)
export const live = (message) => { $('#live').textContent = message }

const day = 24 * 3600 * 1000
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' })

// Times as the reader's clock shows them, the exact one in the tooltip.
export function localTime(date, now = new Date()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0)
  if (date >= midnight && date < midnight + day) return text.today + clock.format(date)
  if (date >= midnight - day && date < midnight) return text.yesterday
  const sameYear = date.getFullYear() === now.getFullYear()
  return new Intl.DateTimeFormat(undefined, {
    day: 'numeric', month: 'short', ...(sameYear ? {} : { year: 'numeric' }),
  }).format(date)
}

function dress(root) {
  for (const time of root.querySelectorAll('time:not([data-local])')) {
    const date = new Date(time.dateTime)
    time.title = full.format(date)
    time.dataset.local = ''
    if (!time.closest('[data-expires]')) time.textContent = localTime(date)
  }
  for (const link of document.querySelectorAll('[data-nav]')) {
    const { pathname } = new URL(link.href)
    const here = location.pathname
    const current = pathname === '/' ? here === '/' : here.startsWith(pathname.split('/').slice(0, 2).join('/'))
    current ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current')
  }
  const first = root.querySelector('[data-focus]')
  first?.focus()
  if (first) queueMicrotask(() => first.scrollIntoView({ block: 'center' })) // htmx goes to the top of a new page
}
dress(document)
document.addEventListener('htmx:afterSettle', (event) => dress(event.target))

// A boosted page change is told as a browser tells one.
document.addEventListener('htmx:afterSettle', (event) => {
  if (event.target.id !== 'main') return
  if (!document.activeElement || document.activeElement === document.body) {
    $('#main').focus({ preventScroll: true })
  }
  live(document.title.split(' · ')[0])
})

document.addEventListener('click', async (event) => {
  const copy = event.target.closest('[data-copy]')
  if (!copy) return
  const source = $(copy.dataset.copy)
  const value = source.value ?? source.textContent
  try {
    await navigator.clipboard.writeText(value.trim())
    live(text.copied)
    copy.dataset.done = ''
    setTimeout(() => delete copy.dataset.done, 2000)
  } catch {
    source.select ? source.select() : getSelection().selectAllChildren(source)
  }
})

// The theme changes in place; the cookie lets the server write it next time.
document.addEventListener('submit', (event) => {
  const form = event.target.closest('[data-theme-form]')
  if (!form) return
  event.preventDefault()
  const button = $('button', form)
  const order = ['auto', 'light', 'dark']
  const theme = button.value
  if (theme === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
  const keep = theme === 'auto' ? 'theme=; max-age=0' : `theme=${theme}; max-age=31536000`
  document.cookie = `${keep}; path=/; samesite=lax${location.protocol === 'https:' ? '; secure' : ''}`
  button.value = order[(order.indexOf(theme) + 1) % 3]
  button.title = button.ariaLabel = { auto: text.theme_auto, light: text.theme_light, dark: text.theme_dark }[theme]
  $('use', button).setAttribute('href', `#i-${{ auto: 'auto', light: 'sun', dark: 'moon' }[theme]}`)
})

// A button may stand outside its form; htmx looks only inside.
let submitter
document.addEventListener('submit', (event) => { submitter = event.submitter }, true)
document.addEventListener('htmx:configRequest', (event) => {
  const form = event.target
  if (!submitter || submitter.form !== form || form.contains(submitter)) return
  event.detail.parameters[submitter.name] = submitter.value
  if (submitter.hasAttribute('formaction')) event.detail.path = submitter.getAttribute('formaction')
})

// What changes the list of what waits changes nothing else on the page: the
// answer makes the list come anew. A row goes at once.
document.addEventListener('htmx:configRequest', (event) => {
  if (event.target.matches('form[data-waiting]')) delete event.detail.headers['HX-Boosted']
})
document.addEventListener('htmx:beforeSwap', (event) => {
  const form = event.detail.requestConfig?.elt
  if (!form?.matches?.('form[data-waiting]') || event.detail.xhr.status >= 400) return
  event.detail.shouldSwap = false
  if (!form.matches('[data-row]')) return
  const row = form.closest('li, tr')
  const next = row.nextElementSibling ?? row.previousElementSibling
  row.remove()
  ;(next?.querySelector('button') ?? $('#main')).focus()
  document.body.dispatchEvent(new CustomEvent('rows:changed', { bubbles: true }))
})
