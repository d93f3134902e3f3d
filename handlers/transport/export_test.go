package transport

// ServeAtMost bounds the connections of a server that does not serve yet.
func (s *Server) ServeAtMost(n int) { s.http.Concurrency = n }
