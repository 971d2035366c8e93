-- For models with routes of their own: finds the route, and gives a request that names no version
-- one of the versions of a split.
--
-- The route's filter context has `models`, by name. A model that is split has `versions`, and
-- `below`: the upper bounds of their shares, ascending to 100. Requests with the same value of the
-- header `sticky_header`, where there is one, meet the same version.

math.randomseed(os.time() + tonumber(tostring({}):match("0x(%x+)"), 16) % 2147483647)

-- FNV-1a with 32 bits. The product is taken in halves: numbers are exact up to 2^53 only.
local function hash(text)
  local value = 2166136261
  for i = 1, #text do
    value = bit.bxor(value, text:byte(i)) % 4294967296
    local high = math.floor(value / 65536) * 16777619 % 65536 * 65536
    value = (value % 65536 * 16777619 + high) % 4294967296
  end
  return value
end

local function choose(headers, split)
  local key = split.sticky_header and headers:get(split.sticky_header)
  local point = key and hash(key) % 10000 / 100 or math.random() * 100
  for i, below in ipairs(split.below) do
    if point < below then return split.versions[i] end
  end
end

-- Field 2 of each message is the version. It goes first: where a client names one, the last wins.
local function insert_version(handle, version)
  local field = string.char(18, #version) .. version
  local left, pending = 0, ""
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if pending == "" and left >= length then
      left = left - length
    else
      local text, parts, at = pending .. chunk:getBytes(0, length), {}, 1
      pending = ""
      while at <= #text do
        local rest = #text - at + 1
        if left > 0 then
          local taken = math.min(left, rest)
          parts[#parts + 1] = text:sub(at, at + taken - 1)
          at, left = at + taken, left - taken
        elseif rest < 5 then
          pending, at = text:sub(at), #text + 1
        else
          local flags, a, b, c, d = text:byte(at, at + 4)
          left = ((a * 256 + b) * 256 + c) * 256 + d
          local size = left + #field
          parts[#parts + 1] = string.char(
            flags,
            math.floor(size / 16777216) % 256,
            math.floor(size / 65536) % 256,
            math.floor(size / 256) % 256,
            size % 256
          ) .. field
          at = at + 5
        end
      end
      chunk:setBytes(table.concat(parts))
    end
  end
end

function envoy_on_request(handle)
  local found = handle:streamInfo():dynamicMetadata():get("envoy.lb")
  local name = found and found["model"]
  local own = name and handle:filterContext():get("models")[name]
  if not own then return end
  local headers = handle:headers()
  local path = headers:get(":path")
  local is_http = path:sub(1, 4) == "/v2/"
  if not is_http then
    headers:replace("x-pilotlight-model", name)
    handle:clearRouteCache()
  end
  if not own.versions then return end
  local version = choose(headers, own)
  handle:streamInfo():dynamicMetadata():set("pilotlight", "version", version)
  if is_http then
    local prefix = "/v2/models/" .. name
    headers:replace(":path", prefix .. "/versions/" .. version .. path:sub(#prefix + 1))
  else
    insert_version(handle, version)
  end
end
