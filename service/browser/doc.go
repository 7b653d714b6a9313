// Package browser tests the shop as its visitors use it: in a real browser, against real processes on a real Redis. Each
// test leaves a screenshot in artifacts/.
package browser
