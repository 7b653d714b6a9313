package main

import "flag"

// Config is what the environment and the flags say.
type Config = config

// ReadConfig reads them.
var ReadConfig = readConfig

// DrainTimeout is how long requests may take to finish when the shop ends.
const DrainTimeout = drainTimeout

// Variables are those of the environment that flags stand for.
func Variables() (names []string) {
	new(config).flags().VisitAll(func(f *flag.Flag) { names = append(names, variable(f)) })
	return names
}
