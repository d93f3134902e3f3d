package bolt

// SetMaxListed lets a test reach the bound without half a gigabyte.
func (s *Store) SetMaxListed(n int) { s.maxListed = n }
