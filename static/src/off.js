// Single keys can be switched off, in the list of keys, for those who speak to
// their computer or touch keys by mistake.
export const off = () => localStorage.getItem('keys') === 'off'
