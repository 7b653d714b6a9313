package redstart

import "crypto/tls"

// Check is what Open does to a Config before it connects, files included.
func Check(c Config) (*tls.Config, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	return c.tlsConfig()
}
