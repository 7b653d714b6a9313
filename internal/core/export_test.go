package core

// Direct reports whether a call on the main connection would run on its caller's goroutine now.
func Direct(c *Core) bool { return c.main.ring != nil && c.main.answers(c.clock.Now()) }
