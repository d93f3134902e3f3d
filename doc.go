// Package architecture holds no code. Its tests keep the rules of the whole
// tree: who may import whom, that every package says what it is, and that an
// HTTP status is decided in one place. ARCHITECTURE.md tells the reasons.
package architecture
