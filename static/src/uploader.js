// The queue of uploads in the browser.
export {}
