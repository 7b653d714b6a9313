package core

// Connections is how many connections are open.
func Connections(c *Core) int { return len(c.conns.list()) }
