package main

import "flag"

// Config is the configuration of the environment and the flags.
type Config = config

// ReadConfig reads the configuration.
var ReadConfig = readConfig

// DrainTimeout bounds the time in which requests can finish during a shutdown.
const DrainTimeout = drainTimeout

// Variables returns the environment variables of the flags.
func Variables() (names []string) {
	new(config).flags().VisitAll(func(f *flag.Flag) { names = append(names, variable(f)) })
	return names
}
