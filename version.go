package redstart

// Version is the release of this module. It ends with "-dev" between two releases.
const Version = "0.1.0-dev"
