// Package browser tests the shop in a real browser, against real processes on a real Redis. Each
// test stores screenshots in artifacts/.
package browser
