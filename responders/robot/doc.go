// Package robot is what the custom robots of DingTalk, Feishu and WeCom have in
// common: they take messages and can do nothing else. A message cannot be found
// again, edited or clicked. Changes that people must hear of come as further
// messages, and what waits for a decision is named with the command that takes
// it, or a link to the console.
//
// What differs is a Platform: the shape of a message, how a request is signed,
// how many a minute are taken, and what the codes of an answer mean.
package robot
