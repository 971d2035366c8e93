-- Remembers how the activator found the model, until the answer of the repeated request.

function envoy_on_response(handle)
  local warmth = handle:headers():get("x-warmth")
  if warmth then
    handle:streamInfo():dynamicMetadata():set("pilotlight", "warmth", warmth)
  end
end
