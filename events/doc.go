// Package events is typed events.
package events
