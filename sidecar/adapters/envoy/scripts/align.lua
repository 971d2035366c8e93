-- Runs before the filter that reads a stream's first message. In Envoy 1.40 that one loses the
-- beginning of a further message which comes in one piece with the end of the first. Here such a
-- beginning waits for the next piece, which must come.

local HEADER = 5

local function size_of(header)
  local a, b, c, d = header:byte(2, HEADER)
  return HEADER + ((a * 256 + b) * 256 + c) * 256 + d
end

-- Where the last whole message of `text` ends, when one begins behind `from`.
local function end_of_whole(text, from)
  local at = from
  while #text - at >= HEADER do
    local size = size_of(text:sub(at + 1, at + HEADER))
    if #text - at < size then break end
    at = at + size
  end
  return at
end

function envoy_on_request(handle)
  local seen, first, header, rest = 0, nil, "", ""
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if rest ~= "" then
      chunk:setBytes(rest .. chunk:getBytes(0, length))
      return
    end
    if not first then
      header = header .. chunk:getBytes(0, math.min(length, HEADER - #header))
      first = #header == HEADER and size_of(header)
    end
    if first and seen + length >= first then
      local text = chunk:getBytes(0, length)
      local whole = end_of_whole(text, first - seen)
      if whole == length then return end
      rest = text:sub(whole + 1)
      chunk:setBytes(text:sub(1, whole))
    end
    seen = seen + length
  end
end
