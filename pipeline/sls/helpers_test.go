package sls

import (
	"encoding/base64"
	"strconv"

	sdk "github.com/aliyun/aliyun-log-go-sdk"
)

func encodeCursor(n int64) string {
	return base64.StdEncoding.EncodeToString([]byte(strconv.FormatInt(n, 10)))
}

// pageOf is a decoded page of n groups of one record.
func pageOf(n int, record []byte) *sdk.LogGroupList {
	key, val, topic, sec := "event", string(record), "actiontrail_audit_event", uint32(1)
	list := &sdk.LogGroupList{}
	for range n {
		list.LogGroups = append(list.LogGroups, &sdk.LogGroup{Topic: &topic, Logs: []*sdk.Log{{Time: &sec, Contents: []*sdk.LogContent{{Key: &key, Value: &val}}}}})
	}
	return list
}
